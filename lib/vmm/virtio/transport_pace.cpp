// A driver that keeps several requests under way goes on handing in more while we work: for a
// moment it need not kick, for we look again by ourselves, and the interrupts that would come one
// by one come together. Both end with the next look that finds nothing, and that is at most
// kLookAgain later: a driver with one request at a time notices nothing of it.
#include "vmm/virtio/transport.hpp"

namespace microvm::vmm {
namespace {

constexpr std::chrono::microseconds kLookAgain{20};
constexpr uint16_t kSeveral = 2;
// Used buffers without an interrupt: few, so that the driver works while we do.
constexpr uint16_t kMostUninterrupted = 8;

}  // namespace

// epoll has no timers that short.
bool Transport::kicks_can_wait(uint16_t queue) const {
  return queues_[queue].in_flight() >= kSeveral && loop_.backend() == sys::Loop::Backend::io_uring;
}

bool Transport::interrupt_can_wait(uint16_t queue) const {
  return looks_[queue] && queues_[queue].in_flight() > 0 &&
         queues_[queue].uninterrupted() < kMostUninterrupted;
}

// The first of several looks that are asked for: what waits for it waits no longer for the others.
void Transport::look_later(uint16_t queue) {
  if (looks_[queue]) return;
  looks_[queue] = loop_.after(kLookAgain, [self = self_, queue] {
    if (*self != nullptr) (*self)->look_posted(queue);
  });
}

void Transport::look_posted(uint16_t queue) {
  const std::lock_guard guard(mutex_);
  looks_[queue].reset();
  publish(queue);
  if (live()) serve(queue);
}

// What is put off is done; the queue has its kicks, or nobody serves it.
void Transport::end_pace(uint16_t queue) {
  if (!looks_[queue]) return;
  loop_.cancel(*looks_[queue]);
  looks_[queue].reset();
  publish(queue);
}

}  // namespace microvm::vmm
