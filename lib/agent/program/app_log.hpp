// The output of the image's command on its way to the host. While the host takes it, a full buffer
// slows the command down; while the host cannot be reached, the oldest output is lost and counted.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "agent/base/sync.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

class AppLog {
 public:
  static constexpr size_t kCapacityBytes = 64 * 1024;

  // One attempt to get a stream to the host; invalid: not now.
  using Connect = base::Fd (*)();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);

  // Sends until finish(); runs on a thread of its own.
  void run(Connect connect);
  // Waits until everything has reached the host, or the time is over. Nothing is sent after it.
  void finish(int64_t timeout_ms);

 private:
  enum class Host { reachable, away };

  [[nodiscard]] bool wait_for_data();
  bool send_some(int stream);
  void reconnect(Connect connect, base::Fd& stream);
  [[nodiscard]] size_t peek(std::span<std::byte> out) const;
  size_t append(std::span<const std::byte> bytes);
  void drop_oldest(size_t count);
  [[nodiscard]] size_t room() const { return kCapacityBytes - size_; }

  Mutex mutex_;
  Condition changed_;
  std::array<std::byte, kCapacityBytes> ring_{};
  size_t begin_ = 0;
  size_t size_ = 0;
  size_t lost_bytes_ = 0;  // since the host last took something
  Host host_ = Host::reachable;
  bool finishing_ = false;
  bool finished_ = false;
};

}  // namespace microvm::agent
