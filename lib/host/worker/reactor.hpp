// The thread of a Runtime that watches: control sockets, ends of workers.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "sys/loop.hpp"

namespace microvm::host {

class Reactor {
 public:
  static Result<std::unique_ptr<Reactor>> create();
  // Not on the reactor's own thread. Work that was posted and did not run yet is dropped.
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  void post(std::function<void()> work) { loop_->post(std::move(work)); }
  [[nodiscard]] sys::Loop& loop() { return *loop_; }  // only inside posted work and handlers

 private:
  explicit Reactor(std::unique_ptr<sys::Loop> loop);

  std::unique_ptr<sys::Loop> loop_;
  std::thread thread_;
};

}  // namespace microvm::host
