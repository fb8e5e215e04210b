// The thread that lives in a private network and makes sockets there: a socket belongs to the
// namespace of the thread that made it, whoever uses it then. Some are kept in stock, so that a
// first packet waits for nobody.
#pragma once

#include <array>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::net::space {

enum class SocketType : uint8_t { tcp4, tcp6, udp4, udp6 };
inline constexpr size_t kSocketTypes = 4;

class SpaceThread {
 public:
  SpaceThread() = default;
  SpaceThread(const SpaceThread&) = delete;
  SpaceThread& operator=(const SpaceThread&) = delete;
  ~SpaceThread();

  // Starts the thread in a network namespace of its own, where `set_up` runs on it; returns what
  // that returns. Without privileges from then on.
  Result<void> start(std::function<Result<void>()> set_up);

  // Non-blocking. Errors: io (out of fds), unsupported (no IPv6). Any thread.
  Result<base::Fd> take(SocketType type);

 private:
  struct Stock {
    std::vector<base::Fd> sockets;
    size_t wanted = 0;
    int error = 0;  // of the last attempt, until somebody was told
  };

  void run(const std::function<Result<void>()>& set_up);
  void fill();
  [[nodiscard]] Stock* short_stock();

  std::mutex mutex_;
  std::condition_variable wanted_;
  std::condition_variable made_;
  std::array<Stock, kSocketTypes> stocks_;
  Result<void> set_up_result_;
  bool is_set_up_ = false;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace microvm::net::space
