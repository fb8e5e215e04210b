#include "vmm/arch/x86_64/long_mode.hpp"

#include <array>

#include "vmm/arch/x86_64/layout.hpp"

namespace microvm::vmm::x86_64 {
namespace {

// SDM vol. 3 §3.4.5: flat, present, ring 0. 0xaf9b: 64-bit code, 0xcf93: data.
constexpr std::array<uint64_t, 4> kGdt = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};

constexpr uint64_t kPresentWritable = 0x3;
constexpr uint64_t kLargePage = 0x80;
constexpr uint64_t kLargePageSize = 2u << 20;
constexpr size_t kEntriesPerTable = 512;
using PageTable = std::array<uint64_t, kEntriesPerTable>;

constexpr uint64_t kCr0 = 0x8000'0033;  // PG NE ET MP PE
constexpr uint64_t kCr4Pae = 1u << 5;
constexpr uint64_t kEferLongMode = 0x500;  // LME, LMA

kvm_segment code_segment() {
  kvm_segment segment{};
  segment.limit = 0xffff'ffff;
  segment.selector = kCodeSelector;
  segment.type = 11;  // execute, read, accessed
  segment.present = 1;
  segment.s = 1;
  segment.l = 1;
  segment.g = 1;
  return segment;
}

kvm_segment data_segment() {
  kvm_segment segment = code_segment();
  segment.selector = kDataSelector;
  segment.type = 3;  // read, write, accessed
  segment.l = 0;
  segment.db = 1;
  return segment;
}

// Intel insists on a busy 64-bit task segment in long mode, even if nothing uses it.
kvm_segment task_segment() {
  kvm_segment segment{};
  segment.limit = 0xffff;
  segment.type = 11;
  segment.present = 1;
  return segment;
}

void set_segments(kvm_sregs& sregs) {
  sregs.cs = code_segment();
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data_segment();
  sregs.tr = task_segment();
  sregs.gdt.base = layout::kGdt;
  sregs.gdt.limit = sizeof kGdt - 1;
  sregs.idt.base = 0;
  sregs.idt.limit = 0;
}

}  // namespace

Result<void> write_long_mode_tables(GuestMemory& memory) {
  constexpr uint64_t kPointers = layout::kPageTables + kPageSize;
  constexpr uint64_t kDirectory = layout::kPageTables + 2 * kPageSize;
  PageTable table{};
  table[0] = kPointers | kPresentWritable;
  bool written = memory.write(layout::kPageTables, table);
  table[0] = kDirectory | kPresentWritable;
  written &= memory.write(kPointers, table);
  for (size_t i = 0; i < table.size(); ++i) {
    table[i] = i * kLargePageSize | kPresentWritable | kLargePage;
  }
  written &= memory.write(kDirectory, table);
  written &= memory.write(layout::kGdt, kGdt);
  if (written) return {};
  return base::fail(ErrorCode::internal, "guest memory ends below 1 MiB");
}

Result<void> enter_long_mode(kvm::Vcpu& vcpu, kvm_regs regs) {
  auto sregs = vcpu.sregs();
  if (!sregs) return base::fail(sregs.error());
  set_segments(*sregs);
  sregs->cr0 = kCr0;
  sregs->cr3 = layout::kPageTables;
  sregs->cr4 = kCr4Pae;
  sregs->efer = kEferLongMode;
  if (auto ok = vcpu.set_sregs(*sregs); !ok) return ok;
  regs.rflags = 0x2;  // the bit that is always one
  return vcpu.set_regs(regs);
}

}  // namespace microvm::vmm::x86_64
