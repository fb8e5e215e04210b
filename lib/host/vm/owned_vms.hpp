// The Vms that die with a Runtime: they go on when the embedder drops its handles, and end with the
// Runtime and the last handle.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "microvm/vm.hpp"

namespace microvm::host {

// Thread-safe. Each Vm holds the Core that holds this: the Runtime empties it at its end.
class OwnedVms {
 public:
  // Null when it is not one of these.
  std::shared_ptr<Vm::Impl> find(const std::string& id);
  // Keeps one that dies with its owner; does nothing with any other.
  void adopt(std::shared_ptr<Vm::Impl> vm);
  void forget(const std::string& id);
  // Lets go of those that ended by themselves and that nobody holds: what they left goes with them.
  void drop_ended();
  void clear();

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<Vm::Impl>> vms_;
};

}  // namespace microvm::host
