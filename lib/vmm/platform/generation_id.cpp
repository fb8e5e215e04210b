#include "vmm/platform/generation_id.hpp"

#include <sys/random.h>

namespace microvm::vmm {

Result<void> write_generation_id(GuestMemory& memory, uint64_t address) {
  GenerationGuid guid{};
  // 16 bytes are never short (getrandom(2)): up to 256 bytes come whole.
  if (::getrandom(guid.data(), guid.size(), 0) != static_cast<ssize_t>(guid.size())) {
    return base::fail_errno("getrandom");
  }
  if (!memory.write(address, guid)) {
    return base::fail(ErrorCode::internal, "guest memory ends before the generation id");
  }
  return {};
}

Result<void> renew_generation_id(GuestMemory& memory, uint64_t address, Irq& irq) {
  if (auto ok = write_generation_id(memory, address); !ok) return ok;
  irq.raise();
  return {};
}

}  // namespace microvm::vmm
