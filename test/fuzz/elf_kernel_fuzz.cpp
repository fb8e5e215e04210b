// A hostile vmlinux: the input is the file. What loads has its entry and end in guest memory.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "vmm/arch/x86_64/elf_kernel.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kMemoryBytes = 4u << 20;

GuestMemory make_memory() {
  auto memory = GuestMemory::reserve(kMemoryBytes);
  if (!memory || !memory->back_with_zeros()) std::abort();
  return std::move(*memory);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static GuestMemory memory = make_memory();
  const base::Fd file(::memfd_create("fuzz", MFD_CLOEXEC));
  if (::write(file.get(), data, size) != static_cast<ssize_t>(size)) std::abort();
  const auto kernel = x86_64::load_kernel(file.get(), memory);
  if (kernel && (kernel->entry >= kMemoryBytes || kernel->end > kMemoryBytes)) std::abort();
  return 0;
}
