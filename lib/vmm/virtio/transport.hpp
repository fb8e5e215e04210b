// How a guest's driver reaches a device: status, features, queues and interrupts. What is above
// (machine, snapshot) does not know which transport a device has.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "base/error.hpp"
#include "state/sections.hpp"
#include "vmm/virtio/device.hpp"

namespace microvm::vmm {

class Transport {
 public:
  // Drain first (pause() until idle()): in-flight I/O reads and writes guest memory.
  virtual ~Transport() = default;

  // The guest's accesses to the transport's registers, on any vCPU thread. Accesses no driver makes
  // read as zero and are ignored when written. A reset with I/O in flight waits for it up to
  // kResetDeadline, so whoever pauses vCPU threads keeps the loop running meanwhile.
  static constexpr std::chrono::milliseconds kResetDeadline{2000};
  virtual void read(uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(uint64_t offset, std::span<const std::byte> data) = 0;

  // The rest is for the loop's thread.
  virtual void kick(uint16_t queue) = 0;

  // Takes no new work from the queues. idle() becomes true when everything in flight is done and
  // visible to the driver.
  virtual void pause() = 0;
  [[nodiscard]] virtual bool idle() const = 0;
  // Looks at every queue: kicks may have been lost. After a restore, too.
  virtual void resume() = 0;
  virtual void flush(Device::FlushDone done) = 0;

  // The transport's and the device's section. vCPUs stopped, paused, idle (error busy).
  virtual Result<void> save(state::Writer& out, uint32_t instance) const = 0;
  // On a new transport, memory in place; ends paused. Errors: corrupt, unsupported.
  virtual Result<void> restore(const state::Reader& in, uint32_t instance) = 0;

  [[nodiscard]] virtual bool needs_reset() const = 0;
  [[nodiscard]] virtual Device& device() noexcept = 0;
};

}  // namespace microvm::vmm
