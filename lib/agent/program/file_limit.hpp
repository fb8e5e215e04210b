// How many files the agent may have open: six for each program of exec, and more than the kernel
// gives process 1. Programs get what they would have had.
#pragma once

namespace microvm::agent {

// Once, before other threads are there.
void raise_file_limit();
// In a child that is to become a program: system calls only.
void restore_file_limit();

}  // namespace microvm::agent
