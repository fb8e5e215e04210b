// Hostile bodies of the vCPU, CPUID, interrupt chip and clock sections. What decodes encodes to the
// same bytes, and comparing CPUID tables survives any table.
#include <cstdlib>

#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"
#include "vmm/arch/x86_64/vm_state.hpp"

using namespace microvm;
using namespace microvm::vmm::x86_64;

namespace {

void check_same(const wire::Bytes& encoded, wire::ByteView input) {
  if (encoded != wire::Bytes(input.begin(), input.end())) std::abort();
}

void decode_cpuid(wire::ByteView body) {
  const auto table = CpuidTable::decode(body);
  if (!table) return;
  check_same(table->encode(), body);
  const CpuidTable nothing = CpuidTable::make({}, false, 1);
  static_cast<void>(missing_features(*table, nothing));
  if (!missing_features(*table, *table).empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  wire::ByteReader in(std::as_bytes(std::span(data, size)));
  const auto kind = in.get<uint8_t>();
  const wire::ByteView body = in.get_bytes(in.left());
  if (kind % 3 == 0) {
    if (const auto state = decode_vcpu(body)) check_same(encode(*state), body);
  } else if (kind % 3 == 1) {
    decode_cpuid(body);
  } else {
    constexpr size_t kClockBytes = 8;
    if (body.size() < kClockBytes) return 0;
    static_cast<void>(decode_vm(body.subspan(kClockBytes), body.first(kClockBytes)));
  }
  return 0;
}
