#include "vmm/arch/x86_64/aml.hpp"

#include <algorithm>

namespace microvm::vmm::x86_64::aml {
namespace {

// ACPI 6.4 §20.3
enum Op : uint8_t {
  kZero = 0x00,
  kOne = 0x01,
  kName = 0x08,
  kByte = 0x0a,
  kWord = 0x0b,
  kDword = 0x0c,
  kString = 0x0d,
  kQword = 0x0e,
  kScope = 0x10,
  kBuffer = 0x11,
  kPackage = 0x12,
  kMethod = 0x14,
  kDualName = 0x2e,
  kMultiName = 0x2f,
  kExtended = 0x5b,
  kDevice = 0x82,  // after kExtended
  kNotify = 0x86,
};

void append(Bytes& to, const Bytes& from) {
  to.insert(to.end(), from.begin(), from.end());
}

Bytes op(uint8_t code) {
  return {std::byte{code}};
}

template <std::integral T>
Bytes prefixed(Op prefix, T value) {
  wire::ByteWriter out;
  out.put<uint8_t>(prefix);
  out.put(value);
  return out.take();
}

// §20.2.4: the length counts its own bytes. One byte up to 63, else a nibble and 1 to 3 bytes.
Bytes package_length(size_t body) {
  if (body + 1 < 64) return op(static_cast<uint8_t>(body + 1));
  size_t following = 1;
  while (body + 1 + following >= size_t{1} << (4 + 8 * following)) ++following;
  const size_t total = body + 1 + following;
  wire::ByteWriter out;
  out.put(static_cast<uint8_t>(following << 6 | (total & 0xf)));
  for (size_t i = 0; i < following; ++i) out.put(static_cast<uint8_t>(total >> (4 + 8 * i)));
  return out.take();
}

Bytes with_length(Bytes head, const Bytes& body) {
  append(head, package_length(body.size()));
  append(head, body);
  return head;
}

}  // namespace

Bytes concatenate(Terms parts) {
  Bytes out;
  for (const Bytes& part : parts) append(out, part);
  return out;
}

Bytes integer(uint64_t value) {
  if (value == 0) return op(kZero);
  if (value == 1) return op(kOne);
  if (value <= 0xff) return prefixed(kByte, static_cast<uint8_t>(value));
  if (value <= 0xffff) return prefixed(kWord, static_cast<uint16_t>(value));
  if (value <= 0xffff'ffff) return prefixed(kDword, static_cast<uint32_t>(value));
  return prefixed(kQword, value);
}

Bytes string(std::string_view text) {
  wire::ByteWriter out;
  out.put<uint8_t>(kString);
  out.put_bytes(wire::as_bytes(text));
  out.put<uint8_t>(0);
  return out.take();
}

Bytes path(std::string_view text) {
  wire::ByteWriter out;
  if (text.starts_with('\\')) {
    out.put('\\');
    text.remove_prefix(1);
  }
  const auto segments = static_cast<uint8_t>(1 + std::ranges::count(text, '.'));
  if (segments == 2) out.put<uint8_t>(kDualName);
  if (segments > 2) {
    out.put<uint8_t>(kMultiName);
    out.put(segments);
  }
  for (const char c : text) {
    if (c != '.') out.put(c);
  }
  return out.take();
}

// §19.3.4: three letters of five bits and four hexadecimal digits, big-endian.
Bytes eisa_id(std::string_view text) {
  uint32_t id = 0;
  for (const char c : text.substr(0, 3)) id = id << 5 | static_cast<uint32_t>(c - '@');
  for (const char c : text.substr(3)) {
    id = id << 4 | static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'A' + 10);
  }
  return prefixed(kDword, __builtin_bswap32(id));
}

Bytes package(Terms elements) {
  const Bytes count = op(static_cast<uint8_t>(elements.size()));
  return with_length(op(kPackage), concatenate({count, concatenate(elements)}));
}

Bytes name(std::string_view name, const Bytes& value) {
  return concatenate({op(kName), path(name), value});
}

Bytes scope(std::string_view where, Terms body) {
  return with_length(op(kScope), concatenate({path(where), concatenate(body)}));
}

Bytes device(std::string_view name, Terms body) {
  return with_length(concatenate({op(kExtended), op(kDevice)}),
                     concatenate({path(name), concatenate(body)}));
}

Bytes method(std::string_view name, uint8_t arguments, Terms body) {
  constexpr uint8_t kSerialized = 1 << 3;
  const Bytes flags = op(static_cast<uint8_t>(arguments | kSerialized));
  return with_length(op(kMethod), concatenate({path(name), flags, concatenate(body)}));
}

Bytes notify(std::string_view object, uint8_t value) {
  return concatenate({op(kNotify), path(object), integer(value)});
}

// §6.4.3.4 32-Bit Fixed Memory Range Descriptor
Bytes memory_range(uint32_t address, uint32_t size) {
  wire::ByteWriter out;
  out.put<uint8_t>(0x86);
  out.put<uint16_t>(9);
  out.put<uint8_t>(1);  // writeable
  out.put(address);
  out.put(size);
  return out.take();
}

namespace {

enum AddressSpace : uint8_t { kMemorySpace = 0, kBusSpace = 2 };

// §6.4.3.5 Address Space Descriptors: a bridge's, with both ends fixed.
template <std::integral T>
Bytes bridge_range(uint8_t descriptor, AddressSpace kind, uint8_t kind_flags, T first, T last) {
  constexpr uint8_t kProducer = 0, kFixedEnds = 0x0c;
  wire::ByteWriter out;
  out.put(descriptor);
  out.put(static_cast<uint16_t>(3 + 5 * sizeof(T)));
  out.put<uint8_t>(kind);
  out.put(static_cast<uint8_t>(kProducer | kFixedEnds));
  out.put(kind_flags);
  out.put(T{0});  // granularity
  out.put(first);
  out.put(last);
  out.put(T{0});  // translation
  out.put(static_cast<T>(last - first + 1));
  return out.take();
}

}  // namespace

Bytes memory_window(uint32_t address, uint32_t size) {
  constexpr uint8_t kDwordDescriptor = 0x87, kWriteable = 1;
  return bridge_range<uint32_t>(kDwordDescriptor, kMemorySpace, kWriteable, address,
                                address + size - 1);
}

Bytes bus_range(uint16_t first, uint16_t last) {
  constexpr uint8_t kWordDescriptor = 0x88;
  return bridge_range<uint16_t>(kWordDescriptor, kBusSpace, 0, first, last);
}

// §6.4.2.5 I/O Port Descriptor
Bytes port_range(uint16_t first, uint8_t count) {
  wire::ByteWriter out;
  out.put<uint8_t>(0x47);
  out.put<uint8_t>(1);  // decodes 16 bits
  out.put(first);
  out.put(first);
  out.put<uint8_t>(1);  // alignment
  out.put(count);
  return out.take();
}

// §6.4.3.6 Extended Interrupt Descriptor
Bytes edge_interrupt(uint32_t gsi) {
  wire::ByteWriter out;
  out.put<uint8_t>(0x89);
  out.put<uint16_t>(6);
  out.put<uint8_t>(0x3);  // consumer, edge triggered, active high, exclusive
  out.put<uint8_t>(1);    // one interrupt follows
  out.put(gsi);
  return out.take();
}

Bytes resources(Terms descriptors) {
  Bytes list = concatenate(descriptors);
  append(list, {std::byte{0x79}, std::byte{0}});  // end tag; 0: the checksum is not used
  return with_length(op(kBuffer), concatenate({integer(list.size()), list}));
}

}  // namespace microvm::vmm::x86_64::aml
