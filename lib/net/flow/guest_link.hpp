// The two ways to the guest's tap: in, as if the guest had sent it, and out to the guest. What does
// not go in is lost, as on any link.
#pragma once

#include "net/flow/answer.hpp"

namespace microvm::net {

class GuestLink {
 public:
  // Both are borrowed.
  GuestLink(int tap, int to_guest) : tap_(tap), to_guest_(to_guest) {}

  // A frame of the guest, with its virtio-net header.
  void let_in(FrameView frame) const;
  void answer(const Frame& frame) const;

 private:
  int tap_;
  int to_guest_;
};

}  // namespace microvm::net
