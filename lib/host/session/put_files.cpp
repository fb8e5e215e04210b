// Pushes files of the host into the guest: COPY of a build, and uploads.
#include <fcntl.h>
#include <sys/stat.h>

#include "host/session/agent_messages.hpp"
#include "host/session/file_transfer.hpp"

namespace microvm::host {
namespace {

using wire::FrameType;

microvm_agent_FileEntry_Type wire_type(FileToPut::Type type) {
  switch (type) {
    case FileToPut::Type::directory:
      return microvm_agent_FileEntry_Type_DIRECTORY;
    case FileToPut::Type::symlink:
      return microvm_agent_FileEntry_Type_SYMLINK;
    case FileToPut::Type::regular:
      break;
  }
  return microvm_agent_FileEntry_Type_REGULAR;
}

// The context may change under us: a link or a fifo put in a file's place is refused, not followed.
Result<base::Fd> open_source(const FileToPut& file, uint64_t& size) {
  base::Fd fd(::open(file.source.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status{};
  if (!fd || ::fstat(fd.get(), &status) != 0) {
    return base::fail_errno("copy " + file.source.string());
  }
  if (!S_ISREG(status.st_mode)) {
    return base::fail(ErrorCode::invalid_argument,
                      "copy " + file.source.string() + ": not a regular file");
  }
  size = static_cast<uint64_t>(status.st_size);
  return fd;
}

}  // namespace

Result<PutStream> PutStream::open(const std::shared_ptr<AgentLink>& link, const Limits& limits) {
  auto operation = Operation::open(link, "copy files into the guest", limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::put_files, {}, limits);
  if (!sent) return base::fail(sent.error());
  return PutStream(std::move(*operation));
}

Result<void> PutStream::entry(const FileToPut& file, uint64_t size, const Limits& limits,
                              const std::string& hard_link_to) {
  microvm_agent_FileEntry entry{};
  const std::string& target = hard_link_to.empty() ? file.link_target : hard_link_to;
  if (auto ok = set_text(entry.path, file.path, "path"); !ok) return ok;
  if (auto ok = set_text(entry.link_target, target, "link target"); !ok) return ok;
  entry.type = hard_link_to.empty() ? wire_type(file.type) : microvm_agent_FileEntry_Type_HARD_LINK;
  entry.mode = file.mode;
  entry.uid = file.uid;
  entry.gid = file.gid;
  entry.mtime_ns = file.mtime_ns;
  entry.size = size;
  return operation_.send(FrameType::file_entry, encode_message(entry),
                         limits.within(kSilenceLimit));
}

Result<void> PutStream::data(wire::ByteView bytes, const Limits& limits) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min<size_t>(bytes.size(), wire::kDataChunk));
    auto sent = operation_.send(FrameType::file_data, piece, limits.within(kSilenceLimit));
    if (!sent) return sent;
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Result<void> PutStream::content(const FileToPut& file, int fd, uint64_t size,
                                const Limits& limits) {
  wire::Bytes buffer(wire::kDataChunk);
  while (size > 0) {
    const auto got = ::read(fd, buffer.data(), std::min<uint64_t>(size, buffer.size()));
    if (got < 0) return base::fail_errno("copy " + file.source.string());
    if (got == 0) {
      return base::fail(ErrorCode::io,
                        "copy " + file.source.string() + ": the file shrank while it was read");
    }
    const auto piece = wire::ByteView(buffer).first(static_cast<size_t>(got));
    if (auto sent = data(piece, limits); !sent) return sent;
    size -= piece.size();
  }
  return {};
}

Result<uint64_t> PutStream::file(const FileToPut& file, const Limits& limits) {
  uint64_t size = 0;
  Result<void> sent;
  if (file.type != FileToPut::Type::regular) {
    sent = entry(file, 0, limits);
  } else if (file.source.empty()) {
    size = file.inline_content.size();
    sent = entry(file, size, limits);
    if (sent) sent = data(wire::as_bytes(file.inline_content), limits);
  } else {
    const auto fd = open_source(file, size);
    if (!fd) return base::fail(fd.error());
    sent = entry(file, size, limits);
    if (sent) sent = content(file, fd->get(), size, limits);
  }
  if (!sent) return base::fail(sent.error());
  return size;
}

Result<void> PutStream::finish(const Limits& limits) {
  const Limits bounded = limits.within(kSilenceLimit);
  if (auto sent = operation_.send(FrameType::put_end, {}, bounded); !sent) return sent;
  return operation_.expect_ok(bounded);
}

Result<void> AgentClient::put_files(const std::vector<FileToPut>& files, const Limits& limits) {
  auto stream = PutStream::open(link_, limits);
  if (!stream) return base::fail(stream.error());
  for (const FileToPut& file : files) {
    if (auto sent = stream->file(file, limits); !sent) return base::fail(sent.error());
  }
  return stream->finish(limits);
}

}  // namespace microvm::host
