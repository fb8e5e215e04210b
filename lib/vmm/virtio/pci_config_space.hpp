// The configuration space of one PCI function (PCI Local Bus 3.0 chapter 6): the bytes a guest
// reads and which of their bits it may change. What a change means is for who owns it.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "wire/bytes.hpp"

namespace microvm::vmm {

class PciConfigSpace {
 public:
  // Of a conventional function; what a guest asks for behind it reads as absent, all ones.
  static constexpr uint32_t kBytes = 256;

  // Both for values that lie inside.
  template <class T>
  void put(uint32_t offset, T value) {
    std::memcpy(&bytes_[offset], &value, sizeof value);
  }
  template <class T>
  [[nodiscard]] T get(uint32_t offset) const {
    T value;
    std::memcpy(&value, &bytes_[offset], sizeof value);
    return value;
  }
  // The guest may change these bits.
  template <class T>
  void allow(uint32_t offset, T bits) {
    std::memcpy(&writable_[offset], &bits, sizeof bits);
  }
  // Puts a capability at the end of the list, 4-byte aligned; `body` follows its id and the pointer
  // to the next one. Where it stands.
  uint32_t add_capability(uint8_t id, std::span<const std::byte> body);

  // Of any width, at any place.
  void read(uint32_t offset, std::span<std::byte> data) const;
  void write(uint32_t offset, std::span<const std::byte> data);

  // Takes over what a guest had written into a space that is laid out as this one. False: it is
  // not.
  [[nodiscard]] bool load(wire::ByteView saved);

 private:
  std::array<std::byte, kBytes> bytes_{};
  std::array<std::byte, kBytes> writable_{};
  uint32_t end_ = 0x40;      // behind the last capability
  uint32_t link_at_ = 0x34;  // what points to the next one
};

}  // namespace microvm::vmm
