#include "vmm/virtio/queue.hpp"

#include <atomic>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

namespace microvm::vmm {

// virtio 1.2 §2.7.5
struct Queue::Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};

struct Queue::Table {
  const std::byte* base;
  uint32_t count;
  bool indirect;
};

namespace {

constexpr uint16_t kNext = 1;
constexpr uint16_t kWrite = 2;
constexpr uint16_t kIndirect = 4;
constexpr uint16_t kAvailNoInterrupt = 1;
constexpr uint16_t kUsedNoNotify = 1;

constexpr uint64_t kDescriptorBytes = 16;
// Areas as far as we touch them, the event index at their end included. virtio 1.2 §2.7.6, §2.7.8:
// u16 flags, u16 idx, ring, u16 event.
constexpr uint64_t kRingHeader = 4;
constexpr uint64_t available_bytes(uint64_t size) {
  return kRingHeader + 2 * size + 2;
}
constexpr uint64_t used_bytes(uint64_t size) {
  return kRingHeader + 8 * size + 2;
}

// Single fields of the rings, which the guest changes at any time. Their alignment is checked when
// the queue starts.
uint16_t load(const std::byte* at, std::memory_order order) {
  auto* field = reinterpret_cast<uint16_t*>(const_cast<std::byte*>(at));
  return std::atomic_ref<uint16_t>(*field).load(order);
}
void store(std::byte* at, uint16_t value, std::memory_order order) {
  std::atomic_ref<uint16_t>(*reinterpret_cast<uint16_t*>(at)).store(value, order);
}

// Copies out of guest memory; the compiler may not look at the source again afterwards.
template <class T>
T read_once(const std::byte* at) {
  T copy;
  std::memcpy(&copy, at, sizeof copy);
  asm volatile("" ::: "memory");
  return copy;
}

bool is_aligned(uint64_t address, uint64_t alignment) {
  return address % alignment == 0;
}

}  // namespace

void Chain::clear() noexcept {
  head = 0;
  readable.clear();
  writable.clear();
  readable_bytes = 0;
  writable_bytes = 0;
}

Queue::Queue(uint16_t max_size) : max_size_(max_size) {}

bool Queue::start(const GuestMemory& memory, const QueueSetup& setup, QueueOptions options,
                  QueuePosition position) {
  stop();
  if (!std::has_single_bit(setup.size) || setup.size > max_size_) return false;
  if (!is_aligned(setup.descriptors, 16) || !is_aligned(setup.available, 2) ||
      !is_aligned(setup.used, 4)) {
    return false;
  }
  const std::byte* descriptors = memory.translate(setup.descriptors, kDescriptorBytes * setup.size);
  std::byte* available = memory.translate(setup.available, available_bytes(setup.size));
  std::byte* used = memory.translate(setup.used, used_bytes(setup.size));
  if (descriptors == nullptr || available == nullptr || used == nullptr) return false;
  memory_ = &memory;
  size_ = setup.size;
  options_ = options;
  position_ = position;
  published_ = interrupted_ = position.next_used;
  available_ = available;
  used_ = used;
  descriptors_ = descriptors;
  return true;
}

void Queue::stop() noexcept {
  descriptors_ = nullptr;
  available_ = nullptr;
  used_ = nullptr;
  size_ = 0;
  position_ = {};
  published_ = 0;
  interrupted_ = 0;
  in_flight_count_ = 0;
  put_back_count_ = 0;
  in_flight_.reset();
  broken_ = nullptr;
}

bool Queue::breaks(const char* reason) noexcept {
  broken_ = reason;
  return false;
}

// Acquire: what the driver wrote before it moved the index is there. virtio 1.2 §2.7.13.2
uint16_t Queue::load_available_index() const {
  return load(available_ + 2, std::memory_order_acquire);
}

Queue::Pop Queue::pop(Chain& chain) {
  if (broken_ != nullptr) return Pop::broken;
  if (descriptors_ == nullptr) return Pop::empty;
  const uint16_t available = load_available_index();
  if (available == position_.next_available) return Pop::empty;
  chain.clear();
  const Table ring{descriptors_, size_, false};
  if (!take_head(available, chain.head) || !walk(ring, chain.head, chain)) return Pop::broken;
  ++position_.next_available;
  if (put_back_count_ > 0) --put_back_count_;
  in_flight_.set(chain.head);
  ++in_flight_count_;
  return Pop::chain;
}

bool Queue::take_head(uint16_t available, uint16_t& head) {
  const auto waiting = static_cast<uint16_t>(available - position_.next_available);
  if (waiting > size_) return breaks("the available index jumps by more than the queue size");
  const size_t slot = position_.next_available & (size_ - 1);
  head = load(available_ + kRingHeader + 2 * slot, std::memory_order_relaxed);
  if (head >= size_) return breaks("a descriptor head is out of range");
  if (in_flight_.test(head)) return breaks("a descriptor head is in flight already");
  return true;
}

// Ends because each step adds a buffer and add_buffer() allows no more than the queue has.
bool Queue::walk(const Table& table, uint16_t first, Chain& chain) {
  uint16_t index = first;
  while (true) {
    if (index >= table.count) return breaks("a descriptor index is out of range");
    const auto descriptor = read_once<Descriptor>(table.base + kDescriptorBytes * index);
    if ((descriptor.flags & kIndirect) != 0) {
      if (table.indirect) return breaks("an indirect table refers to another one");
      return follow_indirect(descriptor, chain);
    }
    if (!add_buffer(descriptor, chain)) return false;
    if ((descriptor.flags & kNext) == 0) return true;
    index = descriptor.next;
  }
}

// virtio 1.2 §2.7.5.3; the write flag of the descriptor itself means nothing.
bool Queue::follow_indirect(const Descriptor& descriptor, Chain& chain) {
  if (!options_.indirect) return breaks("an indirect descriptor without the feature");
  if ((descriptor.flags & kNext) != 0) return breaks("an indirect descriptor has a next one");
  const uint64_t count = descriptor.length / kDescriptorBytes;
  if (count == 0 || descriptor.length % kDescriptorBytes != 0) {
    return breaks("an indirect table has a bad length");
  }
  if (count > size_) return breaks("an indirect table is longer than the queue");
  const std::byte* base = memory_->translate(descriptor.address, descriptor.length);
  if (base == nullptr) return breaks("an indirect table is outside of memory");
  return walk({base, static_cast<uint32_t>(count), true}, 0, chain);
}

bool Queue::add_buffer(const Descriptor& descriptor, Chain& chain) {
  const bool writable = (descriptor.flags & kWrite) != 0;
  if (chain.readable.size() + chain.writable.size() >= size_) {
    return breaks("a descriptor chain loops or is longer than the queue");
  }
  if (!writable && !chain.writable.empty()) {
    return breaks("a readable buffer follows a writable one");
  }
  if (descriptor.length == 0) return breaks("a descriptor has length zero");
  // virtio 1.2 §2.7.5.2: a chain has at most 2^32 bytes; used elements count in u32.
  const uint32_t total = chain.readable_bytes + chain.writable_bytes;
  if (descriptor.length > std::numeric_limits<uint32_t>::max() - total) {
    return breaks("a descriptor chain has more than 2^32 bytes");
  }
  std::byte* data = memory_->translate(descriptor.address, descriptor.length);
  if (data == nullptr) return breaks("a buffer is outside of memory");
  (writable ? chain.writable : chain.readable).push_back({data, descriptor.length});
  (writable ? chain.writable_bytes : chain.readable_bytes) += descriptor.length;
  return true;
}

void Queue::put_back(uint16_t head) {
  if (head >= kMaxQueueSize || !in_flight_.test(head)) return;
  in_flight_.reset(head);
  --in_flight_count_;
  if (!running()) return;
  --position_.next_available;
  ++put_back_count_;
}

void Queue::push(uint16_t head, uint32_t written_bytes) {
  if (head >= kMaxQueueSize || !in_flight_.test(head)) return;
  in_flight_.reset(head);
  --in_flight_count_;
  if (!running()) return;
  const size_t slot = position_.next_used & (size_ - 1);
  const uint32_t element[2] = {head, written_bytes};  // virtio 1.2 §2.7.8
  std::memcpy(used_ + kRingHeader + 8 * slot, element, sizeof element);
  ++position_.next_used;
}

void Queue::show_used() {
  if (!running() || !has_unpublished()) return;
  published_ = position_.next_used;
  store(used_ + 2, published_, std::memory_order_release);
}

bool Queue::take_interrupt() {
  if (!running() || uninterrupted() == 0) return false;
  const uint16_t old_used = std::exchange(interrupted_, published_);
  // The index must be visible before we look at what the driver wants, or both sides sleep.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return driver_wants_interrupt(old_used, published_);
}

// virtio 1.2 §2.7.7.2: the driver wants one when the index passes its event index.
bool Queue::driver_wants_interrupt(uint16_t old_used, uint16_t new_used) const {
  if (!options_.event_idx) {
    return (load(available_, std::memory_order_relaxed) & kAvailNoInterrupt) == 0;
  }
  const std::byte* field = available_ + kRingHeader + 2 * size_t{size_};
  const uint16_t event = load(field, std::memory_order_relaxed);
  return static_cast<uint16_t>(new_used - event - 1) < static_cast<uint16_t>(new_used - old_used);
}

// Its event index names what it waits for, which is what it has seen plus one or, at the end of a
// batch, more. Without event indexes it lets us know nothing.
bool Queue::driver_is_behind() const {
  if (!running()) return false;
  if (!options_.event_idx) {
    return published_ != 0 && driver_wants_interrupt(published_, published_);
  }
  return driver_wants_interrupt(static_cast<uint16_t>(published_ - size_), published_);
}

// With event indexes the driver kicks once per index we name, so not naming one is enough.
void Queue::suppress_kicks() {
  if (!running() || options_.event_idx) return;
  store(used_, kUsedNoNotify, std::memory_order_relaxed);
}

bool Queue::allow_kicks() {
  if (!running()) return false;
  if (options_.event_idx) {
    std::byte* field = used_ + kRingHeader + 8 * size_t{size_};
    store(field, seen_available(), std::memory_order_relaxed);
  } else {
    store(used_, 0, std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return load_available_index() != seen_available();
}

}  // namespace microvm::vmm
