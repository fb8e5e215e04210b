// Pushes files of the host into the guest: COPY of a build.
#include <fcntl.h>
#include <sys/stat.h>

#include "host/session/agent_client.hpp"
#include "host/session/agent_messages.hpp"
#include "host/session/operation.hpp"

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

Result<void> send_entry(Operation& operation, const FileToPut& file, uint64_t size,
                        const Limits& limits) {
  microvm_agent_FileEntry entry{};
  if (auto ok = set_text(entry.path, file.path, "path"); !ok) return ok;
  if (auto ok = set_text(entry.link_target, file.link_target, "link target"); !ok) return ok;
  entry.type = wire_type(file.type);
  entry.mode = file.mode;
  entry.uid = file.uid;
  entry.gid = file.gid;
  entry.mtime_ns = file.mtime_ns;
  entry.size = size;
  return operation.send(FrameType::file_entry, encode_message(entry), limits);
}

Result<void> send_inline(Operation& operation, const FileToPut& file, const Limits& limits) {
  auto sent = send_entry(operation, file, file.inline_content.size(), limits);
  wire::ByteView rest = wire::as_bytes(file.inline_content);
  while (sent && !rest.empty()) {
    const auto piece = rest.first(std::min<size_t>(rest.size(), wire::kDataChunk));
    sent = operation.send(FrameType::file_data, piece, limits);
    rest = rest.subspan(piece.size());
  }
  return sent;
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

Result<void> send_content(Operation& operation, const FileToPut& file, int fd, uint64_t size,
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
    if (auto sent = operation.send(FrameType::file_data, piece, limits); !sent) return sent;
    size -= piece.size();
  }
  return {};
}

Result<void> send_file(Operation& operation, const FileToPut& file, const Limits& limits) {
  if (file.type != FileToPut::Type::regular) return send_entry(operation, file, 0, limits);
  if (file.source.empty()) return send_inline(operation, file, limits);
  uint64_t size = 0;
  const auto fd = open_source(file, size);
  if (!fd) return base::fail(fd.error());
  if (auto sent = send_entry(operation, file, size, limits); !sent) return sent;
  return send_content(operation, file, fd->get(), size, limits);
}

}  // namespace

Result<void> AgentClient::put_files(const std::vector<FileToPut>& files, const Limits& limits) {
  auto operation = Operation::open(link_, "copy files into the guest", limits);
  if (!operation) return base::fail(operation.error());
  if (auto sent = operation->send(FrameType::put_files, {}, limits); !sent) return sent;
  for (const FileToPut& file : files) {
    if (auto sent = send_file(*operation, file, limits); !sent) return sent;
  }
  if (auto sent = operation->send(FrameType::put_end, {}, limits); !sent) return sent;
  return operation->expect_ok(limits);
}

}  // namespace microvm::host
