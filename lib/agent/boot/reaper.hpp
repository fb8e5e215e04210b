// PID 1 inherits the processes whose parents have ended.
#pragma once

namespace microvm::agent {

// Before any thread exists: they all have to leave this signal to the reaper.
void block_child_signal();

// For ever, on the main thread: the kernel makes orphans its children. The children of the other
// threads are theirs to reap, so no status is ever taken from under a program's exec.
[[noreturn]] void reap_orphans();

}  // namespace microvm::agent
