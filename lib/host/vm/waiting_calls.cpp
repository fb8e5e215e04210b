#include "host/vm/waiting_calls.hpp"

namespace microvm::host {

bool WaitingCalls::enter(const std::string& vm_id, std::optional<Place>& place) {
  {
    const std::scoped_lock lock(mutex_);
    uint32_t& waiting = waiting_[vm_id];
    if (most_ != 0 && waiting >= most_) return false;
    ++waiting;
  }
  place.emplace(*this, vm_id);
  return true;
}

void WaitingCalls::leave(const std::string& vm_id) {
  const std::scoped_lock lock(mutex_);
  const auto found = waiting_.find(vm_id);
  if (--found->second == 0) waiting_.erase(found);
}

}  // namespace microvm::host
