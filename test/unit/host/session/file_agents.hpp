// Agents for tests of files: the real one over a directory of this machine, and ones that send what
// they are told.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "agent/operation/operation.hpp"
#include "host/session/agent_messages.hpp"
#include "host/session/frame_stream.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/agent/temporary_root.hpp"
#include "unit/host/session/local_link.hpp"

namespace microvm::test {

inline host::Limits soon() {
  return host::Limits({}, std::chrono::seconds(20));
}

// Whom files may be given to without being root.
inline std::string me() {
  return std::to_string(::geteuid()) + ":" + std::to_string(::getegid());
}

struct FileAgent {
  FileAgent() { guest.root_fd = root.fd(); }

  agent::TemporaryRoot root;
  agent::Guest guest;
  std::shared_ptr<LocalLink> link = std::make_shared<LocalLink>(
      [this](base::Fd stream) { agent::serve_operation(guest, std::move(stream)); });
};

using Frames = std::vector<std::pair<wire::FrameType, wire::Bytes>>;

// Answers every operation with these frames, whatever it is, then ends.
inline std::shared_ptr<LocalLink> answering(Frames frames) {
  return std::make_shared<LocalLink>([frames = std::move(frames)](base::Fd stream) {
    host::FrameWriter writer;
    for (const auto& [type, body] : frames) {
      if (!writer.write(stream.get(), type, body, soon(), "test")) return;
    }
    ::shutdown(stream.get(), SHUT_WR);
    char buffer[4096];
    while (::recv(stream.get(), buffer, sizeof buffer, 0) > 0) {
    }
  });
}

struct SentEntry {
  microvm_agent_FileEntry_Type type = microvm_agent_FileEntry_Type_REGULAR;
  std::string path;
  uint64_t size = 0;
  std::string link_target = {};
  uint32_t mode = 0644;
};

inline std::pair<wire::FrameType, wire::Bytes> entry_frame(const SentEntry& sent) {
  microvm_agent_FileEntry entry{};
  entry.type = sent.type;
  sent.path.copy(entry.path, sizeof entry.path - 1);
  sent.link_target.copy(entry.link_target, sizeof entry.link_target - 1);
  entry.size = sent.size;
  entry.mode = sent.mode;
  return {wire::FrameType::file_entry, host::encode_message(entry)};
}

inline std::pair<wire::FrameType, wire::Bytes> data_frame(std::string_view text) {
  const auto bytes = wire::as_bytes(text);
  return {wire::FrameType::file_data, {bytes.begin(), bytes.end()}};
}

inline std::pair<wire::FrameType, wire::Bytes> ok_frame() {
  return {wire::FrameType::ok, {}};
}

}  // namespace microvm::test
