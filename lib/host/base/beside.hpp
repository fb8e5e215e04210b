// Work beside the caller's own.
#pragma once

#include <functional>
#include <string_view>
#include <thread>

#include "host/base/thread.hpp"

namespace microvm::host {

class Beside {
 public:
  // On a thread; at once where the system has none left. What it uses outlives this.
  Beside(const std::function<void()>& work, std::string_view what) {
    if (auto thread = start_thread(work, what)) {
      thread_ = std::move(*thread);
    } else {
      work();
    }
  }
  ~Beside() { wait(); }
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

  // Until it is done.
  void wait() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace microvm::host
