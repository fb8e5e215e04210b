#include "vmm/arch/x86_64/boot.hpp"

#include <asm/bootparam.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>

#include "base/checked.hpp"
#include "vmm/arch/x86_64/elf_kernel.hpp"
#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/arch/x86_64/long_mode.hpp"

namespace microvm::vmm::x86_64 {
namespace {

// Of <asm/e820.h>, which user space does not get.
enum E820Type : uint32_t { kUsable = 1, kReserved = 2 };

constexpr uint8_t kLoaderUndefined = 0xff;  // type_of_loader of a loader without a number

struct Initramfs {
  uint64_t address = 0;
  uint64_t size = 0;
};

Result<uint64_t> initramfs_size(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno("stat initramfs");
  if (!S_ISREG(info.st_mode) || info.st_size == 0) {
    return base::fail(ErrorCode::invalid_argument, "initramfs is not a file with content");
  }
  return static_cast<uint64_t>(info.st_size);
}

Result<void> read_file(int fd, std::byte* to, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t n = ::pread(fd, to + done, bytes - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::fail_errno("read initramfs");
    if (n == 0) return base::fail(ErrorCode::invalid_argument, "initramfs shrank while read");
    done += static_cast<uint64_t>(n);
  }
  return {};
}

// As high as possible in the low region, so that it is out of the way of what the kernel puts
// right behind itself early.
Result<Initramfs> load_initramfs(int fd, GuestMemory& memory, uint64_t kernel_end) {
  if (fd < 0) return Initramfs{};
  const auto size = initramfs_size(fd);
  if (!size) return base::fail(size.error());
  const uint64_t top = memory.regions().front().size;
  if (!base::range_fits(kernel_end, *size + kPageSize, top)) {
    return base::fail(ErrorCode::out_of_memory,
                      "initramfs of " + std::to_string(*size) +
                          " bytes does not fit beside the kernel: give the vm more memory");
  }
  const uint64_t address = (top - *size) & ~(kPageSize - 1);
  std::byte* to = memory.translate(address, *size);
  if (auto ok = read_file(fd, to, *size); !ok) return base::fail(ok.error());
  return Initramfs{.address = address, .size = *size};
}

Result<void> write_low(GuestMemory& memory, uint64_t address, std::span<const std::byte> bytes) {
  if (memory.write_bytes(address, bytes)) return {};
  return base::fail(ErrorCode::internal, "guest memory ends below 1 MiB");
}

Result<void> write_cmdline(GuestMemory& memory, std::string_view cmdline) {
  if (cmdline.size() >= layout::kCommandLineMax || cmdline.find('\0') != cmdline.npos) {
    return base::fail(ErrorCode::invalid_argument, "kernel command line must be shorter than " +
                                                       std::to_string(layout::kCommandLineMax) +
                                                       " bytes and have no NUL");
  }
  // Memory is zero at boot: the NUL is there.
  return write_low(memory, layout::kCommandLine, std::as_bytes(std::span(cmdline)));
}

void add_e820(boot_params& params, uint64_t from, uint64_t to, E820Type type) {
  params.e820_table[params.e820_entries++] = {.addr = from, .size = to - from, .type = type};
}

void fill_e820(boot_params& params, const GuestMemory& memory, bool pci) {
  const uint64_t low_end = memory.regions().front().size;
  add_e820(params, 0, layout::kLowMemoryEnd, kUsable);
  add_e820(params, layout::kLowMemoryEnd, layout::kHighMemoryStart, kReserved);
  add_e820(params, layout::kHighMemoryStart, low_end, kUsable);
  if (pci) {  // before it runs ACPI a kernel knows no other way to say that this is taken
    add_e820(params, layout::kPciConfig, layout::kPciConfig + layout::kPciConfigSize, kReserved);
  }
  for (const MemoryRegion& region : memory.regions().subspan(1)) {
    add_e820(params, region.guest_address, region.guest_address + region.size, kUsable);
  }
}

boot_params make_boot_params(const GuestMemory& memory, const LinuxBoot& boot,
                             const Initramfs& initramfs) {
  boot_params params{};
  params.hdr.boot_flag = 0xaa55;
  params.hdr.header = 0x53726448;  // "HdrS"
  params.hdr.version = 0x020f;
  params.hdr.type_of_loader = kLoaderUndefined;
  params.hdr.loadflags = LOADED_HIGH;
  params.hdr.cmd_line_ptr = layout::kCommandLine;
  params.hdr.cmdline_size = static_cast<uint32_t>(boot.cmdline.size());
  // The low region ends at 3 GiB: both fit into 32 bits.
  params.hdr.ramdisk_image = static_cast<uint32_t>(initramfs.address);
  params.hdr.ramdisk_size = static_cast<uint32_t>(initramfs.size);
  params.acpi_rsdp_addr = boot.tables;
  fill_e820(params, memory, boot.pci);
  return params;
}

}  // namespace

Result<uint64_t> load_linux(GuestMemory& memory, const LinuxBoot& boot) {
  const auto kernel = load_kernel(boot.kernel_fd, memory);
  if (!kernel) return base::fail(kernel.error());
  const auto initramfs = load_initramfs(boot.initramfs_fd, memory, kernel->end);
  if (!initramfs) return base::fail(initramfs.error());
  if (auto ok = write_cmdline(memory, boot.cmdline); !ok) return base::fail(ok.error());
  const boot_params params = make_boot_params(memory, boot, *initramfs);
  if (auto ok = write_low(memory, layout::kBootParams, std::as_bytes(std::span(&params, 1))); !ok) {
    return base::fail(ok.error());
  }
  if (auto ok = write_long_mode_tables(memory); !ok) return base::fail(ok.error());
  return kernel->entry;
}

// Firmware leaves XCR0 at 1, but a KVM below a hypervisor that does not report XSETBV (QEMU's
// emulated SVM) then shows the guest a CPUID that contradicts its XCR0, and Linux gives up XSAVE.
Result<void> set_firmware_state(kvm::Vcpu& vcpu, const CpuidTable& cpuid) {
  constexpr uint32_t kMtrrDefaultType = 0x2ff;
  constexpr uint64_t kEnabledWriteBack = 0x806;
  const kvm_msr_entry mtrr{.index = kMtrrDefaultType, .reserved = 0, .data = kEnabledWriteBack};
  if (auto count = vcpu.write_msrs({&mtrr, 1}); !count) return base::fail(count.error());
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = cpuid.xcr0();
  return cpuid.xcr0() == 0 ? Result<void>{} : vcpu.set_xcrs(xcrs);
}

Result<void> set_firmware_state(kvm::Vm& vm) {
  constexpr uint8_t kAllMasked = 0xff;
  for (const uint32_t number : {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE}) {
    auto chip = vm.interrupt_chip(number);
    if (!chip) return base::fail(chip.error());
    chip->chip.pic.imr = kAllMasked;
    if (auto ok = vm.set_interrupt_chip(*chip); !ok) return ok;
  }
  return {};
}

Result<void> set_boot_registers(kvm::Vcpu& vcpu, uint64_t entry) {
  kvm_regs regs{};
  regs.rip = entry;
  regs.rsi = layout::kBootParams;  // boot.rst: %rsi is the base address of struct boot_params
  regs.rsp = layout::kBootStack;
  return enter_long_mode(vcpu, regs);
}

}  // namespace microvm::vmm::x86_64
