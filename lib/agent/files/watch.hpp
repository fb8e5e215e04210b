// What happens to a file or a directory of the guest, told to the host as it happens.
#pragma once

#include "agent/link/channel.hpp"

namespace microvm::agent {

// WatchRequest, up to the last frame, which is the caller's: it comes when the watched path itself
// is gone. While the host does not read, the kernel keeps a bounded queue; what does not fit there
// becomes one OVERFLOW.
[[nodiscard]] Outcome<void> run_watch(int root, Channel& channel, const FrameHeader& header);

}  // namespace microvm::agent
