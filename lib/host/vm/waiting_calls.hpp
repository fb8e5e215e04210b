// How many calls wait for a Vm's change of state, through whatever handle of a Runtime.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace microvm::host {

// Thread-safe.
class WaitingCalls {
 public:
  // Held by a call while it waits. Does not outlive its WaitingCalls.
  class Place {
   public:
    Place(WaitingCalls& calls, std::string vm_id) : calls_(calls), vm_id_(std::move(vm_id)) {}
    ~Place() { calls_.leave(vm_id_); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    WaitingCalls& calls_;
    const std::string vm_id_;
  };

  // At most so many for each Vm; 0: any number.
  explicit WaitingCalls(uint32_t most) : most_(most) {}

  // Into `place`, which is empty; false: so many wait already.
  bool enter(const std::string& vm_id, std::optional<Place>& place);

  [[nodiscard]] uint32_t most() const { return most_; }

 private:
  void leave(const std::string& vm_id);

  const uint32_t most_;
  std::mutex mutex_;
  std::map<std::string, uint32_t> waiting_;
};

}  // namespace microvm::host
