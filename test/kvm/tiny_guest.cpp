#include "tiny_guest.hpp"

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <initializer_list>

#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/virtio/pci_registers.hpp"

namespace microvm::vmm::test {

Code& Code::raw(std::initializer_list<unsigned> bytes) {
  for (const unsigned byte : bytes) bytes_.push_back(static_cast<std::byte>(byte));
  return *this;
}

template <class T>
Code& Code::number(T value) {
  const auto* begin = reinterpret_cast<const std::byte*>(&value);
  bytes_.insert(bytes_.end(), begin, begin + sizeof value);
  return *this;
}

Code& Code::write_port(uint16_t port, uint8_t value) {
  return raw({0xb0, value}).write_al_to_port(port);  // mov al, value
}

Code& Code::read_port(uint16_t port) {
  return raw({0x66, 0xba}).number(port).raw({0xec});  // mov dx, port; in al, dx
}

Code& Code::write_al_to_port(uint16_t port) {
  return raw({0x66, 0xba}).number(port).raw({0xee});  // mov dx, port; out dx, al
}

Code& Code::print(std::string_view text) {
  for (const char c : text) write_port(layout::kSerialPort, static_cast<uint8_t>(c));
  return *this;
}

Code& Code::point_at(uint64_t address) {
  return raw({0x48, 0xbb}).number(address);
}
Code& Code::load_al() {
  return raw({0x8a, 0x03});
}
Code& Code::load_eax() {
  return raw({0x8b, 0x03});
}
Code& Code::store_eax() {
  return raw({0x89, 0x03});
}
Code& Code::set_eax(uint32_t value) {
  return raw({0xb8}).number(value);
}
Code& Code::increment_quad() {
  return raw({0x48, 0xff, 0x03});
}
Code& Code::shift_eax_right(uint8_t bits) {
  return raw({0xc1, 0xe8, bits});
}
Code& Code::al_to_printable() {
  return raw({0x24, 0x3f, 0x04, ' '});
}  // and al; add al

Code& Code::set_quad(uint64_t address, uint32_t value) {
  return point_at(address).set_eax(value).raw({0x48, 0x89, 0x03});  // mov [rbx], rax
}

Code& Code::spin(uint32_t rounds) {
  return raw({0xb9}).number(rounds).raw({0xff, 0xc9, 0x75, 0xfc});  // mov ecx; dec ecx; jnz
}

Code& Code::store_tsc() {
  // rdtsc; shl rdx, 32; or rax, rdx; mov [rbx], rax
  return raw({0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0x48, 0x89, 0x03});
}

Code& Code::touch_pages(uint64_t address, uint32_t count, uint32_t stride) {
  point_at(address).raw({0xb9}).number(count);              // mov ecx, count
  increment_quad().raw({0x48, 0x81, 0xc3}).number(stride);  // add rbx, stride
  return raw({0xff, 0xc9, 0x75, 0xf2});                     // dec ecx; jnz
}

Code& Code::jump_to(size_t place) {
  constexpr size_t kInstructionBytes = 5;
  const auto distance = static_cast<int32_t>(static_cast<int64_t>(place) -
                                             static_cast<int64_t>(here() + kInstructionBytes));
  return raw({0xe9}).number(distance);
}

Code& Code::stop_forever() {
  return raw({0xf4}).jump_to(here() - 1);
}  // hlt

// SLP_TYP 5 and SLP_EN of the sleep control register.
Code& Code::power_off() {
  return write_port(layout::kSleepControlPort, 5 << 2 | 1 << 5).stop_forever();
}

Code& Code::keyboard_reset() {
  return write_port(layout::kKeyboardPort, 0xfe).stop_forever();
}

// An empty interrupt table, then an invalid instruction.
Code& Code::triple_fault() {
  return set_quad(0x300000, 0).point_at(0x300000).raw({0x0f, 0x01, 0x1b, 0x0f, 0x0b});
}

namespace {

constexpr uint64_t kDeviceDirectory = 0x300000;

}  // namespace

Code& Code::map_device_page(uint64_t address) {
  constexpr uint32_t kPresentWritable = 3;
  constexpr uint32_t kLargePage = 0x80;
  constexpr uint64_t kLargePageMask = (2u << 20) - 1;
  return set_quad(kDeviceDirectory + ((address >> 21) & 511) * 8,
                  static_cast<uint32_t>(address & ~kLargePageMask) | kPresentWritable | kLargePage);
}

Code& Code::map_devices() {
  constexpr uint32_t kPresentWritable = 3;
  constexpr uint64_t kPdpt = layout::kPageTables + 0x1000;
  map_device_page(layout::kVirtioMmioBase);
  return set_quad(kPdpt + 3 * 8, static_cast<uint32_t>(kDeviceDirectory) | kPresentWritable);
}

Code& Code::enable_messages(uint32_t slot, uint32_t vectors) {
  constexpr uint32_t kMessageAddress = 0xfee0'0000, kFirstVector = 0x40;
  constexpr uint32_t kMsixCapability = 0x40;  // the first one
  const uint64_t config = layout::kPciConfig + layout::virtio_pci_device(slot) * 0x8000ull;
  const uint64_t table = layout::virtio_pci_address(slot) + pci::kMsixTableAt;
  map_devices().map_device_page(config).map_device_page(table);
  point_at(config + pci::kCommand).set_eax(pci::kMemoryOn | pci::kBusMaster).store_eax();
  for (uint32_t vector = 0; vector < vectors; ++vector) {
    const uint64_t entry = table + vector * 16ull;
    point_at(entry).set_eax(kMessageAddress).store_eax();
    point_at(entry + 8).set_eax(kFirstVector + vector).store_eax();
    point_at(entry + 12).set_eax(0).store_eax();
  }
  return point_at(config + kMsixCapability).set_eax(pci::kMsixEnabled << 16).store_eax();
}

Code& Code::cpuid(uint32_t leaf) {
  return set_eax(leaf).raw({0x33, 0xc9, 0x0f, 0xa2});  // xor ecx, ecx; cpuid
}

Code& Code::append(wire::ByteView code) {
  bytes_.insert(bytes_.end(), code.begin(), code.end());
  return *this;
}

Code& Code::count_forever(uint32_t spin_rounds) {
  point_at(kCounterAddress);
  const size_t top = here();
  increment_quad().load_al().al_to_printable().write_al_to_port(layout::kSerialPort);
  return spin(spin_rounds).jump_to(top);
}

base::Fd Code::elf() const {
  constexpr size_t kCodeOffset = 0x1000;
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = kLoadAddress;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_flags = PF_R | PF_W | PF_X;
  segment.p_offset = kCodeOffset;
  segment.p_vaddr = segment.p_paddr = kLoadAddress;
  segment.p_filesz = segment.p_memsz = bytes_.size();
  segment.p_align = 0x1000;

  wire::Bytes file(kCodeOffset);
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + sizeof header, &segment, sizeof segment);
  file.insert(file.end(), bytes_.begin(), bytes_.end());
  base::Fd fd(::memfd_create("guest", MFD_CLOEXEC));
  const ssize_t put = ::pwrite(fd.get(), file.data(), file.size(), 0);
  if (put != static_cast<ssize_t>(file.size())) fd.reset();
  return fd;
}

Code counting_guest(uint32_t spin_rounds) {
  return Code().count_forever(spin_rounds);
}

Code counting_guest_on_pci() {
  constexpr uint32_t kVsockSlot = 4, kRngSlot = 5;
  return Code().enable_messages(kVsockSlot, 4).enable_messages(kRngSlot, 2).count_forever();
}

Code touching_guest(uint32_t pages, uint32_t stride) {
  return Code().touch_pages(kTouchedAddress, pages, stride).count_forever();
}

Code clock_guest() {
  Code code;
  code.point_at(kCounterAddress);
  const size_t top = code.here();
  code.store_tsc().write_port(layout::kSerialPort, '.').spin(200);
  return code.jump_to(top);
}

}  // namespace microvm::vmm::test
