// Device and vCPU state as bytes. A state file is
//   header   magic "MVMSTATE", u32 format version, u32 section count, u32 crc32c of the header
//   section  u32 id, u32 instance, u16 version, u16 zero, u32 length, u32 crc32c of the
//            section header so far and the body; body
// all little-endian, grown as format_version.hpp says: a section whose id it does not know is
// passed over. The file is untrusted input: the reader checks every length and checksum before it
// hands out a body, and the owner of a body checks its fields.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.hpp"
#include "wire/bytes.hpp"

namespace microvm::state {

// Never renumber: old snapshots hold these.
enum class SectionId : uint32_t {
  machine = 1,  // memory size, vCPU count, device list: must match the machine restored into
  vcpu = 2,     // one instance per vCPU
  cpuid = 3,    // the CPUID table the guest saw
  interrupt_chips = 4,
  clock = 5,
  serial = 6,
  platform = 7,          // power, reset, generation id
  virtio_transport = 8,  // status, features and queues, one instance per device slot
  virtio_block = 9,
  virtio_vsock = 10,
  virtio_rng = 11,
  cpu_capabilities = 12,   // what the guest read of the processor's flaws, if it could
  virtio_pci = 13,         // what virtio_transport's device has of PCI, if it has
  working_set = 32,        // alone in a file of its own
  virtio_devices = 0x100,  // + n: a virtio device of type n (virtio 1.2 §5) that is not above
};

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint32_t kMaxSections = 1024;
inline constexpr uint32_t kMaxSectionBytes = 4u << 20;

class Writer {
 public:
  // Adds one section; (id, instance) must be new.
  void add(SectionId id, uint32_t instance, uint16_t version, wire::Bytes body);
  [[nodiscard]] wire::Bytes finish() const;

 private:
  struct Entry {
    SectionId id;
    uint32_t instance;
    uint16_t version;
    wire::Bytes body;
  };
  std::vector<Entry> entries_;
};

struct Section {
  SectionId id{};
  uint32_t instance = 0;
  uint16_t version = 0;
  wire::ByteView body;  // points into the bytes given to Reader::parse
};

class Reader {
 public:
  // Checks the whole structure: magic, version, lengths, checksums, no duplicate, nothing after the
  // last section. `bytes` must outlive the reader. Errors: corrupt, unsupported (newer format).
  static Result<Reader> parse(wire::ByteView bytes);

  [[nodiscard]] bool has(SectionId id, uint32_t instance) const;
  // Error corrupt when the section is missing, unsupported when its version is above `max_version`.
  [[nodiscard]] Result<Section> find(SectionId id, uint32_t instance, uint16_t max_version) const;

 private:
  std::vector<Section> sections_;
};

}  // namespace microvm::state
