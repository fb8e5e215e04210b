#include "net/flow/guest_link.hpp"

#include <unistd.h>

namespace microvm::net {

void GuestLink::let_in(FrameView frame) const {
  [[maybe_unused]] const auto written = ::write(tap_, frame.data(), frame.size());
}

void GuestLink::answer(const Frame& frame) const {
  [[maybe_unused]] const auto written = ::write(to_guest_, frame.data(), frame.size());
}

}  // namespace microvm::net
