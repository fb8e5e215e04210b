// Files on the wire: what stat(2) says as a FileEntry, and their data in frames.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "agent/files/extents.hpp"
#include "agent/link/channel.hpp"

namespace microvm::agent {

// Type, mode, owner, size and time; path and link target are the caller's.
[[nodiscard]] microvm_agent_FileEntry describe_file(const struct stat& status);

// The body of one data frame from the host into a file. `shown` is the path for messages.
[[nodiscard]] Outcome<void> copy_frame(Channel& channel, int file, uint32_t size,
                                       const std::string& shown);

// One file after another to the host, through one buffer.
class FileSender {
 public:
  explicit FileSender(Channel& channel);

  [[nodiscard]] Outcome<void> send_entry(const microvm_agent_FileEntry& entry);
  // From where the file stands, at most `limit` bytes; returns how many there were.
  [[nodiscard]] Outcome<uint64_t> send_data(int file, uint64_t limit, const std::string& shown);
  [[nodiscard]] Outcome<void> send_bytes(std::span<const std::byte> bytes);
  [[nodiscard]] Outcome<void> send_extents(std::span<const FileExtent> extents);

 private:
  [[nodiscard]] Outcome<void> send_piece(FrameType type, std::span<const std::byte> body);
  [[nodiscard]] Outcome<void> send(size_t size);

  Channel& channel_;
  std::vector<std::byte> frame_;
};

}  // namespace microvm::agent
