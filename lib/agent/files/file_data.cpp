#include "agent/files/file_data.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "agent/base/file.hpp"
#include "agent/base/time.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kCopyBytes = 32 * 1024;

microvm_agent_FileEntry_Type type_of(mode_t mode) {
  if (S_ISDIR(mode)) return microvm_agent_FileEntry_Type_DIRECTORY;
  if (S_ISLNK(mode)) return microvm_agent_FileEntry_Type_SYMLINK;
  if (S_ISFIFO(mode)) return microvm_agent_FileEntry_Type_FIFO;
  if (S_ISSOCK(mode)) return microvm_agent_FileEntry_Type_SOCKET;
  if (S_ISCHR(mode)) return microvm_agent_FileEntry_Type_CHARACTER_DEVICE;
  if (S_ISBLK(mode)) return microvm_agent_FileEntry_Type_BLOCK_DEVICE;
  return microvm_agent_FileEntry_Type_REGULAR;
}

}  // namespace

microvm_agent_FileEntry describe_file(const struct stat& status) {
  microvm_agent_FileEntry entry = microvm_agent_FileEntry_init_zero;
  entry.type = type_of(status.st_mode);
  entry.mode = status.st_mode & 07777;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  entry.size = static_cast<uint64_t>(status.st_size);
  entry.mtime_ns = status.st_mtim.tv_sec * kNsPerSecond + status.st_mtim.tv_nsec;
  return entry;
}

Outcome<void> copy_frame(Channel& channel, int file, uint32_t size, const std::string& shown) {
  std::array<std::byte, kCopyBytes> buffer;  // not initialised
  for (uint32_t left = size; left > 0;) {
    const auto piece = std::span(buffer).first(std::min<size_t>(left, buffer.size()));
    if (auto read = channel.read_exactly(piece); !read) return read;
    if (!write_all(file, {reinterpret_cast<const char*>(piece.data()), piece.size()}))
      return fail_errno(shown);
    left -= static_cast<uint32_t>(piece.size());
  }
  return {};
}

FileSender::FileSender(Channel& channel)
    : channel_(channel), frame_(FrameHeader::kSize + wire::kDataChunk) {}

Outcome<void> FileSender::send(size_t size) {
  if (channel_.send_bytes(std::span(frame_).first(size))) return {};
  return fail("the host closed the connection", ECONNRESET);
}

Outcome<void> FileSender::send_entry(const microvm_agent_FileEntry& entry) {
  return send(encode_frame(frame_, FrameType::file_entry, microvm_agent_FileEntry_fields, &entry));
}

Outcome<void> FileSender::send_piece(FrameType type, std::span<const std::byte> body) {
  const FrameHeader header{.body_size = static_cast<uint32_t>(body.size()), .type = type};
  std::ranges::copy(header.encode(), frame_.begin());
  std::ranges::copy(body, frame_.begin() + FrameHeader::kSize);
  return send(FrameHeader::kSize + body.size());
}

Outcome<void> FileSender::send_bytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min<size_t>(bytes.size(), wire::kDataChunk));
    if (auto sent = send_piece(FrameType::file_data, piece); !sent) return sent;
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Outcome<void> FileSender::send_extents(std::span<const FileExtent> extents) {
  constexpr size_t kInOneFrame = wire::kDataChunk / sizeof(FileExtent);
  while (!extents.empty()) {
    const auto piece = extents.first(std::min(extents.size(), kInOneFrame));
    if (auto sent = send_piece(FrameType::file_extents, std::as_bytes(piece)); !sent) return sent;
    extents = extents.subspan(piece.size());
  }
  return {};
}

Outcome<uint64_t> FileSender::send_data(int file, uint64_t limit, const std::string& shown) {
  uint64_t sent = 0;
  const auto body = std::span(frame_).subspan(FrameHeader::kSize);
  while (sent < limit) {
    const ssize_t count = read(file, body.data(), std::min<uint64_t>(body.size(), limit - sent));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(shown);
    if (count == 0) break;
    const FrameHeader header{.body_size = static_cast<uint32_t>(count),
                             .type = FrameType::file_data};
    std::ranges::copy(header.encode(), frame_.begin());
    if (auto ok = send(FrameHeader::kSize + static_cast<size_t>(count)); !ok)
      return fail(ok.error());
    sent += static_cast<uint64_t>(count);
  }
  return sent;
}

}  // namespace microvm::agent
