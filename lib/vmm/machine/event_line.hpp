// An eventfd that KVM knows: as an irqfd the device raises it, as an ioeventfd the guest does.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/virtio/irq.hpp"

namespace microvm::vmm {

class EventLine final : public Irq {
 public:
  static Result<EventLine> create() {
    base::Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return base::fail_errno("eventfd");
    return EventLine(std::move(fd));
  }

  // A full counter means that KVM has not looked yet: the interrupt is pending anyway.
  void raise() noexcept override {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = ::write(fd_.get(), &one, sizeof one);
  }
  // True when it was raised since the last time.
  bool consume() noexcept {
    uint64_t count = 0;
    return ::read(fd_.get(), &count, sizeof count) == sizeof count;
  }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  explicit EventLine(base::Fd fd) : fd_(std::move(fd)) {}
  base::Fd fd_;
};

}  // namespace microvm::vmm
