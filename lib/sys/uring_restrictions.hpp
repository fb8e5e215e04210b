// What a ring of ours may be asked to do, held by the kernel. A ring reaches past a seccomp filter:
// its operations are not system calls, so one that is not needed (open, connect, send, …) must be
// refused by the ring itself.
#pragma once

#include <liburing.h>

namespace microvm::sys {

// For a ring that was set up disabled: once enabled it does what UringLoop asks for (reads, writes,
// syncs, polls and their cancelling) and nothing else, and takes no more registrations. Anything
// else completes with -EACCES. False: the kernel has no restrictions for rings, the ring does all.
bool restrict_ring(io_uring& ring);

}  // namespace microvm::sys
