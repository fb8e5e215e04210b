#include "vmm/arch/x86_64/boot.hpp"

#include <asm/bootparam.h>
#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>
#include <string>

#include "../memory_file.hpp"
#include "vmm/arch/x86_64/layout.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::x86_64;

namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kEntry = kMiB;

base::Fd small_kernel() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_entry = kEntry;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_paddr = kEntry;
  segment.p_memsz = 4096;
  wire::ByteWriter out;
  out.put_bytes(std::as_bytes(std::span(&header, 1)));
  out.put_bytes(std::as_bytes(std::span(&segment, 1)));
  return test::file_with(out.bytes());
}

GuestMemory make_memory(uint64_t bytes) {
  auto memory = GuestMemory::reserve(bytes);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  return std::move(*memory);
}

}  // namespace

TEST_CASE("boot: the kernel finds its parameters where the protocol says") {
  GuestMemory memory = make_memory(4 * kMiB);
  const base::Fd kernel = small_kernel();
  const base::Fd initramfs = test::file_with(wire::as_bytes("initramfs"));
  const auto entry = load_linux(memory, {.kernel_fd = kernel.get(),
                                         .initramfs_fd = initramfs.get(),
                                         .cmdline = "console=ttyS0",
                                         .tables = layout::kAcpiTables});
  REQUIRE(entry);
  CHECK(*entry == kEntry);

  boot_params params{};
  REQUIRE(memory.read(layout::kBootParams, params));
  CHECK(+params.hdr.header == 0x53726448);
  CHECK(+params.acpi_rsdp_addr == layout::kAcpiTables);
  CHECK(+params.hdr.ramdisk_size == 9);
  CHECK(params.hdr.ramdisk_image + params.hdr.ramdisk_size <= 4 * kMiB);
  CHECK(params.hdr.ramdisk_image % kPageSize == 0);
  std::array<char, 14> cmdline{};
  REQUIRE(memory.read(params.hdr.cmd_line_ptr, cmdline));
  CHECK(std::string(cmdline.data()) == "console=ttyS0");
}

TEST_CASE("boot: the memory map covers all memory and reserves the tables") {
  GuestMemory memory = make_memory(4096 * kMiB);
  const base::Fd kernel = small_kernel();
  REQUIRE(load_linux(memory, {.kernel_fd = kernel.get(), .cmdline = ""}));
  boot_params params{};
  REQUIRE(memory.read(layout::kBootParams, params));
  REQUIRE(+params.e820_entries == 4);
  CHECK(+params.e820_table[1].addr == layout::kLowMemoryEnd);
  CHECK(+params.e820_table[1].type == 2);
  CHECK(params.e820_table[2].addr + params.e820_table[2].size == kMmioHoleStart);
  CHECK(+params.e820_table[3].addr == kMmioHoleEnd);
  CHECK(+params.e820_table[3].size == 1024 * kMiB);
  CHECK(+params.hdr.ramdisk_size == 0);
}

TEST_CASE("boot: a command line that is too long or has a NUL is refused") {
  GuestMemory memory = make_memory(4 * kMiB);
  const base::Fd kernel = small_kernel();
  for (const std::string& cmdline :
       {std::string(layout::kCommandLineMax, 'x'), std::string("a\0b", 3)}) {
    const auto entry = load_linux(memory, {.kernel_fd = kernel.get(), .cmdline = cmdline});
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ErrorCode::invalid_argument);
  }
}

TEST_CASE("boot: an initramfs that does not fit or is empty is refused") {
  GuestMemory memory = make_memory(4 * kMiB);
  const base::Fd kernel = small_kernel();
  const base::Fd large = test::file_with(wire::Bytes(4 * kMiB));
  const auto too_large =
      load_linux(memory, {.kernel_fd = kernel.get(), .initramfs_fd = large.get(), .cmdline = ""});
  REQUIRE_FALSE(too_large);
  CHECK(too_large.error().code == ErrorCode::out_of_memory);

  const base::Fd empty = test::file_with({});
  CHECK_FALSE(
      load_linux(memory, {.kernel_fd = kernel.get(), .initramfs_fd = empty.get(), .cmdline = ""}));
}
