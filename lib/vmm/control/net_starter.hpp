// Who starts microvm-net for a worker that is locked down, and so can start nothing itself: a child
// of the worker from before that, which sleeps in one system call, shares the worker's pages, has
// three files and ends with the worker.
//
// A start is one message of one byte with one fd, the end of the net wire that microvm-net gets as
// its kNetWorkerFd; one that runs still is killed first. Its kNetHomeFd is the directory that came
// over the home socket, from the library, in one message; that is looked for at the first start.
// Its kNetStarterFd leads here, for it may open no file (wire::StarterRequest).
#pragma once

#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::vmm::control {

// Forks; single-threaded, before anything hostile is here. The socket on which starts are asked
// for, non-blocking. `program`: microvm-net.
[[nodiscard]] Result<base::Fd> fork_net_starter(base::Fd program, base::Fd home_socket);

// Takes no time; error busy when too many were asked for.
[[nodiscard]] Result<void> ask_for_net(int starter, int net_wire_end);

// Why the last one did not run, if the starter knows; empty: it ran.
[[nodiscard]] std::string why_not_started(int starter);

}  // namespace microvm::vmm::control
