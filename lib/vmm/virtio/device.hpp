// What a virtio device is, and what its transport does for it. The transport owns status,
// features and queues; the device owns behaviour and is unit-tested without KVM.
//
// Threads: every function of Device runs with the transport's mutex held. activate() and reset()
// come from whichever vCPU thread wrote the status register, the rest from the loop's thread.
// Callbacks a device gets from the loop itself take DeviceHost::lock() first.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string_view>

#include "base/error.hpp"
#include "state/sections.hpp"
#include "vmm/virtio/queue.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm {

// virtio 1.2 §5
enum class DeviceType : uint32_t { net = 1, block = 2, rng = 4, balloon = 5, vsock = 19, mem = 24 };

// What is known of a kind of device before there is one.
struct DeviceKind {
  DeviceType type;
  const char* name;
  uint16_t queues;         // pooled workers make its doorbells before the device exists
  uint16_t state_version;  // of the section that save() gives the body of
};

// The state section of a device of this type.
[[nodiscard]] state::SectionId state_section(DeviceType type);

// virtio 1.2 §6; a device offers its own bits, the transport adds these.
inline constexpr uint64_t kFeatureIndirectDesc = uint64_t{1} << 28;
inline constexpr uint64_t kFeatureEventIdx = uint64_t{1} << 29;
inline constexpr uint64_t kFeatureVersion1 = uint64_t{1} << 32;

class DeviceHost {
 public:
  // For callbacks from the loop; inside Device's functions it is already held.
  [[nodiscard]] virtual std::unique_lock<std::mutex> lock() = 0;

  // The next chain of a queue. False: there is none, the queue is not in use, or this kick's share
  // of work is done; process() comes again when there is more. A driver's mistake sets
  // DEVICE_NEEDS_RESET here and reads as "none".
  virtual bool pop(uint16_t queue, Chain& chain) = 0;
  // The chain popped last is left to the driver, untouched, and comes again with the next pop().
  // Any number of them, the last one first.
  virtual void put_back(uint16_t queue, uint16_t head) = 0;
  // How many buffers the driver has made available up to now, modulo 2^16, taken or not; the driver
  // can say what it likes.
  [[nodiscard]] virtual uint16_t made_available(uint16_t queue) const = 0;
  // Every popped chain that is not put back is pushed once, whatever happens: reset and snapshot
  // wait for it.
  virtual void push(uint16_t queue, uint16_t head, uint32_t written_bytes) = 0;
  // Shows the driver what was pushed, with at most one interrupt. After process() the transport
  // does so itself.
  virtual void publish(uint16_t queue) = 0;
  // The same once the loop has run this round's callbacks: one interrupt for a batch of
  // completions.
  virtual void publish_soon(uint16_t queue) = 0;

  // The driver broke the device's own protocol: sets DEVICE_NEEDS_RESET. One line for the log.
  virtual void fail(std::string_view reason) = 0;
  virtual void config_changed() = 0;
  [[nodiscard]] virtual bool has_feature(uint64_t feature) const = 0;

 protected:
  ~DeviceHost() = default;
};

class Device {
 public:
  virtual ~Device() = default;

  // One for all devices of a class: its kKind.
  [[nodiscard]] virtual const DeviceKind& kind() const = 0;
  // The largest size of each queue: powers of two up to kMaxQueueSize. Does not change.
  [[nodiscard]] virtual std::span<const uint16_t> queue_sizes() const = 0;
  [[nodiscard]] virtual uint64_t features() const = 0;
  // The device's configuration space as it is now; the guest only reads it.
  [[nodiscard]] virtual std::span<const std::byte> config() const = 0;

  // The driver is ready (also: restored from a snapshot, after restore()). `host` lives longer than
  // the device.
  virtual void activate(DeviceHost& host) = 0;
  // The driver made buffers available: pop() until false, or leave them there for later.
  virtual void process(uint16_t queue) = 0;
  // Back to the state after construction. No chain is in flight.
  virtual void reset() = 0;

  // Makes everything acknowledged durable, for a snapshot; `done` runs on the loop's thread,
  // without the mutex, perhaps before this returns.
  using FlushDone = std::function<void(Result<void>)>;
  virtual void flush(FlushDone done) { done({}); }

  // An error when some of what is in flight waits for something that the host does not have, and
  // nobody knows for how long. Loop's thread, without the mutex.
  [[nodiscard]] virtual Result<void> check_held() const { return {}; }

  // The body of the device's state section. The device is idle. restore() gets untrusted bytes and
  // runs before activate().
  [[nodiscard]] virtual wire::Bytes save() const { return {}; }
  [[nodiscard]] virtual Result<void> restore(wire::ByteView body);
};

}  // namespace microvm::vmm
