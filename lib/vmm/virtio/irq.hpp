// An interrupt line as a device sees it. In the worker it is an irqfd; in unit tests a counter.
#pragma once

namespace microvm::vmm {

class Irq {
 public:
  virtual ~Irq() = default;
  virtual void raise() noexcept = 0;
};

}  // namespace microvm::vmm
