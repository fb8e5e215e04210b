// The device's side of a split virtqueue (virtio 1.2 §2.7). Everything in the rings is written by
// the guest, at any time: each field is read once into a copy, and a driver that breaks the rules
// makes the queue broken() — an outcome, not an error to throw.
#pragma once

#include <sys/uio.h>

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm {

inline constexpr uint16_t kMaxQueueSize = 1024;

// One request of the driver: buffers the device may read, then buffers it may write, translated to
// this process. Reuse the object for the next pop(): its vectors keep their capacity.
struct Chain {
  uint16_t head = 0;
  std::vector<iovec> readable;
  std::vector<iovec> writable;
  uint32_t readable_bytes = 0;
  uint32_t writable_bytes = 0;

  void clear() noexcept;
};

// What the driver wrote into the transport's queue registers.
struct QueueSetup {
  uint16_t size = 0;
  bool ready = false;
  uint64_t descriptors = 0;  // guest addresses of the three areas
  uint64_t available = 0;
  uint64_t used = 0;
};

// What the driver negotiated for all queues.
struct QueueOptions {
  bool event_idx = false;
  bool indirect = false;
};

// Where a queue stands in its rings; with QueueSetup, all that a snapshot needs of it.
struct QueuePosition {
  uint16_t next_available = 0;
  uint16_t next_used = 0;
};

// Not thread-safe: the transport's mutex guards it.
class Queue {
 public:
  explicit Queue(uint16_t max_size);

  // Checks size, alignment and that each area lies inside one region, and starts at `position`.
  // From here until stop() the setup does not change. False: the setup is invalid.
  [[nodiscard]] bool start(const GuestMemory& memory, const QueueSetup& setup, QueueOptions options,
                           QueuePosition position = {});
  void stop() noexcept;

  enum class Pop { chain, empty, broken };
  // The next chain the driver made available; its head stays in flight until push().
  [[nodiscard]] Pop pop(Chain& chain);
  // The chain popped last is as if it had not been; any number of them, the last one first. The
  // driver need not tell of them again: kicks are for what comes after.
  void put_back(uint16_t head);
  // Gives a popped chain back. The driver sees it at the next publish(). On a broken or stopped
  // queue it only ends the flight.
  void push(uint16_t head, uint32_t written_bytes);
  // One update of the used index for all pushes since the last.
  void show_used();
  // Whether the driver wants an interrupt for what was shown since this was asked last.
  [[nodiscard]] bool take_interrupt();
  // Both.
  [[nodiscard]] bool publish() {
    show_used();
    return take_interrupt();
  }

  // Something published since the driver last said what it has seen; as far as it lets us know.
  [[nodiscard]] bool driver_is_behind() const;

  // Kicks the driver may leave out while the device is busy with the queue anyway.
  void suppress_kicks();
  // Asks for kicks again. True: something became available before the driver could see that.
  [[nodiscard]] bool allow_kicks();

  [[nodiscard]] uint16_t max_size() const noexcept { return max_size_; }
  [[nodiscard]] uint16_t size() const noexcept { return size_; }
  [[nodiscard]] bool running() const noexcept { return descriptors_ != nullptr && !broken(); }
  [[nodiscard]] uint16_t in_flight() const noexcept { return in_flight_count_; }
  // The driver's index, 0 when the queue is not in use.
  [[nodiscard]] uint16_t available_index() const {
    return running() ? load_available_index() : uint16_t{0};
  }
  [[nodiscard]] bool has_unpublished() const noexcept { return position_.next_used != published_; }
  // Shown, but not yet asked about by take_interrupt().
  [[nodiscard]] uint16_t uninterrupted() const noexcept {
    return static_cast<uint16_t>(published_ - interrupted_);
  }
  [[nodiscard]] QueuePosition position() const noexcept { return position_; }
  // Why the queue is broken, one line without the device's name; null when it is not.
  [[nodiscard]] const char* broken() const noexcept { return broken_; }

 private:
  struct Descriptor;
  struct Table;  // the ring's descriptor table or an indirect one

  // false, as a broken step reads well at its return statement
  bool breaks(const char* reason) noexcept;
  [[nodiscard]] bool take_head(uint16_t available, uint16_t& head);
  [[nodiscard]] bool walk(const Table& table, uint16_t first, Chain& chain);
  [[nodiscard]] bool add_buffer(const Descriptor& descriptor, Chain& chain);
  [[nodiscard]] bool follow_indirect(const Descriptor& descriptor, Chain& chain);
  [[nodiscard]] uint16_t load_available_index() const;
  [[nodiscard]] uint16_t seen_available() const noexcept {
    return static_cast<uint16_t>(position_.next_available + put_back_count_);
  }
  [[nodiscard]] bool driver_wants_interrupt(uint16_t old_used, uint16_t new_used) const;

  const uint16_t max_size_;
  uint16_t size_ = 0;
  QueueOptions options_;
  const GuestMemory* memory_ = nullptr;
  const std::byte* descriptors_ = nullptr;
  std::byte* available_ = nullptr;
  std::byte* used_ = nullptr;
  QueuePosition position_;
  uint16_t published_ = 0;
  uint16_t interrupted_ = 0;  // as far as take_interrupt() has looked
  uint16_t in_flight_count_ = 0;
  uint16_t put_back_count_ = 0;  // and not popped again
  std::bitset<kMaxQueueSize> in_flight_;
  const char* broken_ = nullptr;
};

}  // namespace microvm::vmm
