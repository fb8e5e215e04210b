// Vms on their way to Python.
#pragma once

#include <memory>

#include "handle.hpp"
#include "microvm/vm.hpp"

namespace microvm::python {

using VmPointer = std::unique_ptr<Handle<Vm>>;

inline VmPointer make_vm(Vm&& vm, const std::shared_ptr<Family>& family) {
  return std::make_unique<Handle<Vm>>("the Vm", std::move(vm), family);
}

}  // namespace microvm::python
