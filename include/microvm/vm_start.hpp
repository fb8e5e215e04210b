// A Vm that is being started, by a thread of its Runtime.
#pragma once

#include <memory>

#include "microvm/cancel.hpp"
#include "microvm/error.hpp"

namespace microvm {

class Vm;

// At most eight of a Runtime are carried out at a time, the others wait for their turn; the times
// of RunOptions count from there. A Runtime that ends cancels those that are not through, and waits
// for that. Movable; thread-safe, but for moving and destroying it.
class MICROVM_API VmStart {
 public:
  VmStart(VmStart&&) noexcept;
  VmStart& operator=(VmStart&&) noexcept;
  // Cancels it; see there.
  ~VmStart();

  // The Vm, once: further calls fail with invalid_argument. Blocks until it is started, without a
  // limit of its own. Errors: those of Runtime::run() or run_checkpoint(), again for each call;
  // cancelled: by cancel(), the end of the Runtime or the limits; deadline_exceeded. After limits
  // that fired the start goes on.
  Result<Vm> take(const CallLimits& limits = {});
  // The same without waiting. Error would_block: it is not through yet, wait for fd().
  Result<Vm> try_take();

  // Ends the start, or the Vm if it is through and nobody has taken it: nothing of it stays. Waits
  // for that only when the Runtime has ended; take() fails with cancelled at once. Does nothing
  // after a failure, or when the Vm was taken.
  void cancel() noexcept;

  // Readable for good once take() does not wait any more; for poll().
  [[nodiscard]] int fd() const noexcept;

  struct Impl;
  explicit VmStart(std::shared_ptr<Impl> impl);

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace microvm
