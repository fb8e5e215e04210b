#include "vmm/virtio/msix.hpp"

#include <algorithm>
#include <cstring>

namespace microvm::vmm {
namespace {

constexpr uint64_t kTableWord = sizeof(uint32_t);
constexpr uint64_t kWordsOfEntry = MsixTable::kEntryBytes / kTableWord;
constexpr uint32_t kEntryMasked = 1;

bool is_word_access(uint64_t offset, size_t bytes) {
  return (bytes == kTableWord || bytes == 2 * kTableWord) && offset % bytes == 0;
}

}  // namespace

MsixTable::MsixTable(MessageInterrupts& out, uint16_t vectors)
    : out_(out), entries_(std::min(vectors, kMaxVectors)) {}

// PCI 3.0 §6.8.2.6 to 9: address, its upper half, data, control.
uint32_t MsixTable::word(uint64_t index) const {
  const uint64_t vector = index / kWordsOfEntry;
  if (!is_vector(static_cast<uint32_t>(vector))) return 0;
  const Entry& entry = entries_[vector];
  switch (index % kWordsOfEntry) {
    case 0:
      return static_cast<uint32_t>(entry.message.address);
    case 1:
      return static_cast<uint32_t>(entry.message.address >> 32);
    case 2:
      return entry.message.data;
    default:
      return entry.masked ? kEntryMasked : 0;
  }
}

void MsixTable::set_word(uint64_t index, uint32_t value) {
  const uint64_t vector = index / kWordsOfEntry;
  if (!is_vector(static_cast<uint32_t>(vector))) return;
  Entry& entry = entries_[vector];
  uint64_t& address = entry.message.address;
  switch (index % kWordsOfEntry) {
    case 0:
      address = (address >> 32 << 32) | (value & ~uint32_t{3});
      break;
    case 1:
      address = (address & 0xffff'ffff) | uint64_t{value} << 32;
      break;
    case 2:
      entry.message.data = value;
      break;
    default:
      entry.masked = (value & kEntryMasked) != 0;
  }
}

void MsixTable::read(uint64_t offset, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0});
  if (!is_word_access(offset, data.size())) return;
  for (uint64_t at = 0; at < data.size(); at += kTableWord) {
    const uint32_t value = word((offset + at) / kTableWord);
    std::memcpy(&data[at], &value, kTableWord);
  }
}

void MsixTable::write(uint64_t offset, std::span<const std::byte> data) {
  if (!is_word_access(offset, data.size())) return;
  for (uint64_t at = 0; at < data.size(); at += kTableWord) {
    uint32_t value = 0;
    std::memcpy(&value, &data[at], kTableWord);
    set_word((offset + at) / kTableWord, value);
  }
  const uint64_t vector = offset / kEntryBytes;
  if (vector < entries_.size()) settle(static_cast<uint16_t>(vector));
}

void MsixTable::read_pending(uint64_t offset, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0});
  if (!is_word_access(offset, data.size()) || offset >= sizeof pending_) return;
  const uint64_t shown = pending_ >> (8 * offset);
  std::memcpy(data.data(), &shown, data.size());
}

void MsixTable::set_control(bool enabled, bool all_masked) {
  enabled_ = enabled;
  all_masked_ = all_masked;
  for (uint16_t vector = 0; vector < entries_.size(); ++vector) settle(vector);
}

void MsixTable::raise(uint16_t vector) {
  if (!enabled_ || !is_vector(vector)) return;
  pending_ |= uint64_t{1} << vector;
  settle(vector);
}

void MsixTable::settle(uint16_t vector) {
  Entry& entry = entries_[vector];
  if (!may_send(entry)) return;
  if (!entry.is_routed || entry.routed != entry.message) {
    entry.routed = entry.message;
    entry.is_routed = true;
    out_.route(vector, entry.message);
  }
  const uint64_t bit = uint64_t{1} << vector;
  if ((pending_ & bit) == 0) return;
  pending_ &= ~bit;
  out_.raise(vector);
}

void MsixTable::save(wire::ByteWriter& out) const {
  out.put(vectors());
  for (const Entry& entry : entries_) {
    out.put(entry.message.address);
    out.put(entry.message.data);
    out.put(static_cast<uint8_t>(entry.masked));
  }
  out.put(pending_);
}

void MsixTable::restore(wire::ByteReader& in) {
  if (in.get<uint16_t>() != vectors()) return in.fail();
  for (Entry& entry : entries_) {
    entry.message.address = in.get<uint64_t>();
    entry.message.data = in.get<uint32_t>();
    const auto masked = in.get<uint8_t>();
    if (masked > 1) in.fail();
    entry.masked = masked == 1;
  }
  pending_ = in.get<uint64_t>();
  if (vectors() < kMaxVectors && pending_ >> vectors() != 0) in.fail();
}

}  // namespace microvm::vmm
