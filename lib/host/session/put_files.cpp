// Pushes files of the host into the guest: COPY of a build, and uploads.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "host/session/agent_messages.hpp"
#include "host/session/file_transfer.hpp"
#include "sys/file.hpp"

namespace microvm::host {
namespace {

using wire::FrameType;

// Of a file whose content has to be read before its size is known.
constexpr size_t kMaxUnsizedBytes = 16u << 20;

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
Result<base::Fd> open_source(const FileToPut& file, struct stat& status) {
  base::Fd fd(::open(file.source.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd || ::fstat(fd.get(), &status) != 0) {
    return base::fail_errno("copy " + file.source.string());
  }
  if (!S_ISREG(status.st_mode)) {
    return base::fail(ErrorCode::invalid_argument,
                      "copy " + file.source.string() + ": not a regular file");
  }
  return fd;
}

// Files of /proc are empty by their size, those of /sys have a page: small ones, and those that are
// nowhere on a disk, are read before their size is told.
bool says_no_size(const struct stat& status) {
  const auto size = static_cast<uint64_t>(status.st_size);
  return size <= wire::kDataChunk || (status.st_blocks == 0 && size <= kMaxUnsizedBytes);
}

bool has_hole(int fd, uint64_t size) {
  const off_t hole = ::lseek(fd, 0, SEEK_HOLE);
  ::lseek(fd, 0, SEEK_SET);  // fails only where the looking did not move it either
  return hole >= 0 && static_cast<uint64_t>(hole) < size;
}

Result<wire::Bytes> read_whole(const FileToPut& file, int fd) {
  wire::Bytes content(64 * 1024);
  for (size_t size = 0;;) {
    const auto got = ::read(fd, content.data() + size, content.size() - size);
    if (got < 0) return base::fail_errno("copy " + file.source.string());
    size += static_cast<size_t>(got);
    if (size > kMaxUnsizedBytes) {
      return base::fail(ErrorCode::invalid_argument,
                        "copy " + file.source.string() + ": it says no size, and has more than " +
                            std::to_string(kMaxUnsizedBytes >> 20) + " MiB");
    }
    if (got == 0) {
      content.resize(size);
      return content;
    }
    if (size == content.size()) content.resize(2 * size);
  }
}

Result<void> check_size(const FileToPut& file, int fd, uint64_t size) {
  struct stat now{};
  if (::fstat(fd, &now) == 0 && static_cast<uint64_t>(now.st_size) >= size) return {};
  return base::fail(ErrorCode::io,
                    "copy " + file.source.string() + ": the file shrank while it was read");
}

}  // namespace

// One more round trip than put_files, for an answer that is remembered and for what older agents do
// not know.
Result<PutStream> PutStream::open(const std::shared_ptr<AgentLink>& link, const Limits& limits,
                                  FileChange* change) {
  constexpr const char* kWhat = "copy files into the guest";
  auto operation = Operation::open(link, kWhat, limits);
  if (!operation) return base::fail(operation.error());
  microvm_agent_PutTreeRequest request{};
  if (change != nullptr) set_operation_id(request.operation_id, *change);
  auto sent = operation->send(FrameType::put_tree, encode_message(request), limits);
  if (!sent) return base::fail(sent.error());
  const auto answer = operation->receive_if_known(limits.within(kSilenceLimit));
  if (!answer) return base::fail(answer.error());
  if (*answer) {
    const FrameType type = (*answer)->type;
    if (type != FrameType::go_on && type != FrameType::ok) return operation->unexpected(**answer);
    return PutStream(std::move(*operation), false, type == FrameType::ok);
  }
  operation = Operation::open(link, kWhat, limits);
  if (!operation) return base::fail(operation.error());
  sent = operation->send(FrameType::put_files, {}, limits);
  if (!sent) return base::fail(sent.error());
  return PutStream(std::move(*operation), true, false);
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
  entry.follow = file.follow;
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

Result<void> PutStream::hole(uint64_t bytes, const Limits& limits) {
  if (!is_old_) {
    microvm_agent_FileHole hole{};
    hole.bytes = bytes;
    return operation_.send(FrameType::file_hole, encode_message(hole),
                           limits.within(kSilenceLimit));
  }
  const wire::Bytes zeros(wire::kDataChunk);
  while (bytes > 0) {
    const auto piece = wire::ByteView(zeros).first(std::min<uint64_t>(bytes, zeros.size()));
    if (auto sent = data(piece, limits); !sent) return sent;
    bytes -= piece.size();
  }
  return {};
}

Result<void> PutStream::range(const FileToPut& file, int fd, FileExtent range,
                              const Limits& limits) {
  wire::Bytes buffer(wire::kDataChunk);
  while (range.size > 0) {
    const auto got = ::pread(fd, buffer.data(), std::min<uint64_t>(range.size, buffer.size()),
                             static_cast<off_t>(range.offset));
    if (got < 0) return base::fail_errno("copy " + file.source.string());
    if (got == 0) {
      if (auto same = check_size(file, fd, range.offset + range.size); !same) return same;
      return base::fail(ErrorCode::io, "copy " + file.source.string() +
                                           ": it has less content than its size says");
    }
    const auto piece = wire::ByteView(buffer).first(static_cast<size_t>(got));
    if (auto sent = data(piece, limits); !sent) return sent;
    range.offset += piece.size();
    range.size -= piece.size();
  }
  return {};
}

Result<void> PutStream::content(const FileToPut& file, int fd, uint64_t size,
                                const Limits& limits) {
  if (!has_hole(fd, size)) return range(file, fd, {0, size}, limits);
  uint64_t at = 0;
  const auto hole_to = [&](uint64_t end) -> Result<void> {
    const uint64_t bytes = end - std::exchange(at, end);
    return bytes == 0 ? Result<void>() : hole(bytes, limits);
  };
  auto sent = sys::for_each_data_range(fd, [&](uint64_t offset, uint64_t length) -> Result<void> {
    const uint64_t begin = std::clamp(offset, at, size);
    if (auto ok = hole_to(begin); !ok) return ok;
    at = std::min(std::max(offset + length, begin), size);
    return range(file, fd, {begin, at - begin}, limits);
  });
  if (sent) sent = hole_to(size);
  return sent ? check_size(file, fd, size) : sent;
}

Result<uint64_t> PutStream::source(const FileToPut& file, const Limits& limits) {
  struct stat status{};
  const auto fd = open_source(file, status);
  if (!fd) return base::fail(fd.error());
  auto size = static_cast<uint64_t>(status.st_size);
  if (says_no_size(status) && !has_hole(fd->get(), size)) {
    const auto content = read_whole(file, fd->get());
    if (!content) return base::fail(content.error());
    size = content->size();
    auto sent = entry(file, size, limits);
    if (sent) sent = data(*content, limits);
    if (!sent) return base::fail(sent.error());
    return size;
  }
  auto sent = entry(file, size, limits);
  if (sent) sent = content(file, fd->get(), size, limits);
  if (!sent) return base::fail(sent.error());
  return size;
}

Result<uint64_t> PutStream::file(const FileToPut& file, const Limits& limits) {
  const bool is_regular = file.type == FileToPut::Type::regular;
  if (is_regular && !file.source.empty()) return source(file, limits);
  const uint64_t size = is_regular ? file.inline_content.size() : 0;
  auto sent = entry(file, size, limits);
  if (sent && is_regular) sent = data(wire::as_bytes(file.inline_content), limits);
  if (!sent) return base::fail(sent.error());
  return size;
}

Result<void> PutStream::finish(const Limits& limits) {
  if (is_done_) return {};
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
