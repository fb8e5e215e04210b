// A file, or a directory with everything below it, out of the guest's root to the host.
#pragma once

#include "agent/link/channel.hpp"

namespace microvm::agent {

// GetFilesRequest, up to the last frame, which is the caller's. No link below the path is followed;
// no file system mounted below is entered, what goes away during the walk is left out. A file that
// says no size, as those of /proc, is read to its end before it is described. Errors name the path.
[[nodiscard]] Outcome<void> run_get_files(int root, Channel& channel, const FrameHeader& header);

}  // namespace microvm::agent
