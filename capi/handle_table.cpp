#include "handle_table.hpp"

#include <memory>

namespace microvm::capi {
namespace {

constexpr uint64_t kOpen = 1ull << 31;
constexpr uint64_t kHolders = kOpen - 1;
constexpr uint64_t kLastGeneration = UINT32_MAX;
constexpr uint32_t kSlotMask = (1u << 24) - 1;
static_assert(HandleTable::kMaxHandles <= kSlotMask);

uint64_t generation_of_word(uint64_t word) {
  return word >> 32;
}
uint64_t generation_of_handle(Handle handle) {
  return handle & UINT32_MAX;
}
uint32_t slot_of(Handle handle) {
  return static_cast<uint32_t>(handle >> 32) & kSlotMask;
}
Kind kind_of(Handle handle) {
  return static_cast<Kind>(handle >> 56);
}

// Whether the word is of the handle's own object, with the handle not closed.
bool is_open(uint64_t word, Handle handle) {
  return (word & kOpen) != 0 && generation_of_word(word) == generation_of_handle(handle);
}

constinit HandleTable table;

}  // namespace

HandleTable& handle_table() noexcept {
  return table;
}

HandleTable::Slot* HandleTable::find(Handle handle) const noexcept {
  const uint32_t slot = slot_of(handle);
  if (slot >= kMaxHandles) return nullptr;
  Segment* segment = segments_[slot / kSegmentSlots].load(std::memory_order_acquire);
  return segment == nullptr ? nullptr : &(*segment)[slot % kSegmentSlots];
}

HandleTable::Slot& HandleTable::at(uint32_t slot) noexcept {
  return (*segments_[slot / kSegmentSlots].load(std::memory_order_acquire))[slot % kSegmentSlots];
}

HandleTable::Segment& HandleTable::segment(uint32_t number) {
  std::atomic<Segment*>& place = segments_[number];
  Segment* segment = place.load(std::memory_order_acquire);
  if (segment != nullptr) return *segment;
  std::unique_ptr<Segment> made(number == 0 ? nullptr : new Segment());
  Segment* const mine = number == 0 ? &first_ : made.get();
  if (!place.compare_exchange_strong(segment, mine, std::memory_order_acq_rel)) return *segment;
  return made ? *made.release() : first_;
}

// A number beside the head keeps a list from being taken for an unchanged one when its first slot
// went and came back meanwhile.
void HandleTable::push(std::atomic<uint64_t>& list, uint32_t slot) noexcept {
  uint64_t head = list.load(std::memory_order_relaxed);
  uint64_t wanted = 0;
  do {
    at(slot).next.store(static_cast<uint32_t>(head), std::memory_order_relaxed);
    wanted = ((head >> 32) + 1) << 32 | (slot + 1);
  } while (!list.compare_exchange_weak(head, wanted, std::memory_order_acq_rel));
}

std::optional<uint32_t> HandleTable::take_free() noexcept {
  uint64_t head = free_.load(std::memory_order_acquire);
  for (;;) {
    const auto first = static_cast<uint32_t>(head);
    if (first == 0) return std::nullopt;
    const uint64_t next = at(first - 1).next.load(std::memory_order_relaxed);
    const uint64_t wanted = ((head >> 32) + 1) << 32 | next;
    if (free_.compare_exchange_weak(head, wanted, std::memory_order_acq_rel)) return first - 1;
  }
}

std::optional<uint32_t> HandleTable::take_unused() noexcept {
  uint32_t used = used_.load(std::memory_order_relaxed);
  do {
    if (used == kMaxHandles) return std::nullopt;
  } while (!used_.compare_exchange_weak(used, used + 1, std::memory_order_acq_rel));
  return used;
}

std::optional<uint32_t> HandleTable::reserve() {
  destroy_abandoned();
  if (const auto slot = take_free()) return slot;
  // Its memory first, so that mostly no slot is lost when there is none.
  const uint32_t next = used_.load(std::memory_order_acquire);
  if (next < kMaxHandles) segment(next / kSegmentSlots);
  const auto slot = take_unused();
  if (slot) segment(*slot / kSegmentSlots);
  return slot;
}

void HandleTable::give_back(uint32_t slot) noexcept {
  push(free_, slot);
}

Handle HandleTable::publish(uint32_t slot, Kind kind, void* object, Destroy destroy) noexcept {
  Slot& place = at(slot);
  place.kind = kind;
  place.object = object;
  place.destroy = destroy;
  const uint64_t generation = generation_of_word(place.word.load(std::memory_order_relaxed)) + 1;
  place.word.store(generation << 32 | kOpen, std::memory_order_release);
  return static_cast<uint64_t>(kind) << 56 | static_cast<uint64_t>(slot) << 32 | generation;
}

void* HandleTable::acquire(Handle handle, Kind kind) noexcept {
  if (kind_of(handle) != kind) return nullptr;
  Slot* const slot = find(handle);
  if (slot == nullptr) return nullptr;
  uint64_t word = slot->word.load(std::memory_order_acquire);
  do {
    if (!is_open(word, handle)) return nullptr;
  } while (!slot->word.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel));
  if (slot->kind == kind) return slot->object;
  release(handle);
  return nullptr;
}

// True: it was the last holder of a closed one, and the object is the caller's to destroy.
bool HandleTable::let_go(Slot& slot) noexcept {
  const uint64_t before = slot.word.fetch_sub(1, std::memory_order_acq_rel);
  return (before & kOpen) == 0 && (before & kHolders) == 1;
}

void HandleTable::release(Handle handle) noexcept {
  if (let_go(*find(handle))) destroy_object(slot_of(handle));
}

void HandleTable::release_in_signal(Handle handle) noexcept {
  if (let_go(*find(handle))) push(abandoned_, slot_of(handle));
}

bool HandleTable::close(Handle handle, Kind kind) noexcept {
  destroy_abandoned();
  if (acquire(handle, kind) == nullptr) return false;
  Slot& slot = *find(handle);
  const uint64_t before = slot.word.fetch_and(~kOpen, std::memory_order_acq_rel);
  release(handle);
  return (before & kOpen) != 0;  // else another thread was first
}

// The slot is used again, but for one whose generations are used up: a handle is never given twice.
void HandleTable::destroy_object(uint32_t slot) noexcept {
  Slot& place = at(slot);
  place.destroy(place.object);
  place.object = nullptr;
  if (generation_of_word(place.word.load(std::memory_order_relaxed)) == kLastGeneration) return;
  push(free_, slot);
}

void HandleTable::destroy_abandoned() noexcept {
  if (static_cast<uint32_t>(abandoned_.load(std::memory_order_relaxed)) == 0) return;
  auto first = static_cast<uint32_t>(abandoned_.exchange(0, std::memory_order_acq_rel));
  while (first != 0) {
    const uint32_t slot = first - 1;
    first = at(slot).next.load(std::memory_order_relaxed);
    destroy_object(slot);
  }
}

}  // namespace microvm::capi
