#include "host/vm/owned_vms.hpp"

#include <algorithm>

#include "host/vm/vm_impl.hpp"

namespace microvm::host {

std::shared_ptr<Vm::Impl> OwnedVms::find(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  const auto found = std::ranges::find(vms_, id, [](const auto& vm) { return vm->record.id; });
  return found == vms_.end() ? nullptr : *found;
}

void OwnedVms::adopt(std::shared_ptr<Vm::Impl> vm) {
  drop_ended();
  if (!vm->record.dies_with_owner) return;
  const std::scoped_lock lock(mutex_);
  vms_.push_back(std::move(vm));
}

void OwnedVms::forget(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(vms_, [&](const auto& vm) { return vm->record.id == id; });
}

void OwnedVms::drop_ended() {
  std::vector<std::shared_ptr<Vm::Impl>> gone;  // destroyed after the lock
  {
    const std::scoped_lock lock(mutex_);
    std::ranges::copy_if(vms_, std::back_inserter(gone),
                         [](const auto& vm) { return vm.use_count() == 1; });
  }
  std::erase_if(gone, [](const auto& vm) { return !vm->ended(); });  // which asks the disk
  const std::scoped_lock lock(mutex_);
  std::erase_if(vms_, [&](const auto& vm) {
    return vm.use_count() == 2 && std::ranges::find(gone, vm) != gone.end();
  });
}

void OwnedVms::clear() {
  std::vector<std::shared_ptr<Vm::Impl>> gone;
  const std::scoped_lock lock(mutex_);
  gone.swap(vms_);
}

}  // namespace microvm::host
