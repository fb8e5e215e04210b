// Guests of a few instructions: machine code put together here and wrapped as an ELF "kernel". They
// start as Linux does: 64-bit mode, the first GiB mapped one to one, interrupts off.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/fd.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm::test {

class Code {
 public:
  static constexpr uint64_t kLoadAddress = 0x100000;

  Code& write_port(uint16_t port, uint8_t value);
  Code& read_port(uint16_t port);         // → al
  Code& write_al_to_port(uint16_t port);  //
  Code& print(std::string_view text);     // on the serial port
  Code& point_at(uint64_t address);       // rbx
  Code& load_al();                        // al = [rbx]
  Code& load_eax();                       // eax = [rbx]
  Code& store_eax();                      // [rbx] = eax
  Code& set_eax(uint32_t value);          //
  Code& set_quad(uint64_t address, uint32_t value);
  Code& increment_quad();  // ++[rbx]
  Code& shift_eax_right(uint8_t bits);
  Code& al_to_printable();  // al = al % 64 + ' '
  Code& spin(uint32_t rounds);
  Code& store_tsc();  // [rbx] = the time stamp counter
  Code& touch_pages(uint64_t address, uint32_t count,
                    uint32_t stride);  // ++[…] of each; changes rbx
  Code& jump_to(size_t place);
  Code& stop_forever();
  Code& power_off();
  Code& keyboard_reset();
  Code& triple_fault();
  // Makes the 2 MiB page at 0xd0000000, where the virtio devices are, reachable.
  Code& map_devices();
  // After that: the 2 MiB page around another device there.
  Code& map_device_page(uint64_t address);
  // On PCI: has the device in this slot send a message for each of its vectors.
  Code& enable_messages(uint32_t slot, uint32_t vectors);
  Code& cpuid(uint32_t leaf);         // its first subleaf → eax, ebx, ecx, edx
  Code& append(wire::ByteView code);  // of the assembler; where it runs does not matter
  Code& count_forever(uint32_t spin_rounds = 200);  // as counting_guest() does

  [[nodiscard]] size_t here() const { return bytes_.size(); }
  // A file in memory with an ELF executable of this code.
  [[nodiscard]] base::Fd elf() const;

 private:
  Code& raw(std::initializer_list<unsigned> bytes);
  template <class T>
  Code& number(T value);

  wire::Bytes bytes_;
};

// Prints a counter for ever; the counter stands at kCounterAddress.
inline constexpr uint64_t kCounterAddress = 0x400000;
[[nodiscard]] Code counting_guest(uint32_t spin_rounds = 200);
// The same with vsock and rng on PCI, whose vectors all have messages.
[[nodiscard]] Code counting_guest_on_pci();
// Writes this many pages from kTouchedAddress on before it counts.
inline constexpr uint64_t kTouchedAddress = 0x800000;
inline constexpr uint32_t kPage = 4096;
[[nodiscard]] Code touching_guest(uint32_t pages, uint32_t stride = kPage);
// Like a counting guest that stores its time stamp counter instead.
[[nodiscard]] Code clock_guest();
[[nodiscard]] inline char counter_character(uint64_t count) {
  return static_cast<char>(' ' + count % 64);
}

}  // namespace microvm::vmm::test
