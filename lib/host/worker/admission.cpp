#include "host/worker/admission.hpp"

#include <string>

#include "host/saved/vm_directory.hpp"

namespace microvm::host {
namespace {

constexpr uint64_t kMiB = 1 << 20;

}  // namespace

Result<void> check_memory_limit(const WorkerHost& host, std::string_view what) {
  if (host.memory_limit_bytes == 0) return {};
  const auto ids = host.store.vm_ids();
  if (!ids) return base::fail(ids.error());
  uint64_t bytes = 0;
  size_t running = 0;
  for (const std::string& id : *ids) {
    const auto vm = describe_vm(host.store, id);
    if (!vm || vm->state != VmState::running) continue;
    if (vm->memory_bytes == 0) {  // of a newer library, which alone knows
      return base::fail(ErrorCode::unsupported, std::string(what) + ": the memory of microvm " +
                                                    id + " is not known: " + vm->state_reason);
    }
    bytes += vm->memory_bytes;
    ++running;
  }
  if (bytes <= host.memory_limit_bytes) return {};
  return base::fail(
      ErrorCode::out_of_memory,
      std::string(what) + ": with this one " + std::to_string(running) + " microvms would have " +
          std::to_string(bytes / kMiB) + " MiB of memory; the limit is " +
          std::to_string(host.memory_limit_bytes / kMiB) + " MiB: suspend or end others first");
}

}  // namespace microvm::host
