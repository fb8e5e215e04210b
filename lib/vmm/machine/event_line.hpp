// An eventfd that KVM knows as an irqfd: raised, it is an interrupt of the guest.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "vmm/virtio/irq.hpp"

namespace microvm::vmm {

class EventLine final : public Irq {
 public:
  // With a loop, what is raised on its thread goes out with its next wait (Loop::raise): whoever
  // closes the line, or looks at the vCPUs, calls flush_raised() first.
  static Result<EventLine> create(sys::Loop* loop = nullptr) {
    base::Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return base::fail_errno("eventfd");
    return EventLine(std::move(fd), loop);
  }

  // A full counter means that KVM has not looked yet: the interrupt is pending anyway.
  void raise() noexcept override {
    if (loop_ != nullptr) return loop_->raise(fd_.get());
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = ::write(fd_.get(), &one, sizeof one);
  }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  EventLine(base::Fd fd, sys::Loop* loop) : fd_(std::move(fd)), loop_(loop) {}
  base::Fd fd_;
  sys::Loop* loop_;
};

}  // namespace microvm::vmm
