#pragma once

#include "vmm/virtio/irq.hpp"

namespace microvm::test {

class CountingIrq : public vmm::Irq {
 public:
  void raise() noexcept override { ++count; }
  int count = 0;
};

}  // namespace microvm::test
