// A thread of the library's own in the embedder's process.
#pragma once

#include <functional>
#include <string_view>
#include <thread>

#include "base/error.hpp"

namespace microvm::host {

// With all signals blocked: the embedder's are for the embedder's threads. `what` begins the
// message. Error: out_of_memory (the system has no more threads for this user).
Result<std::thread> start_thread(std::function<void()> body, std::string_view what);

}  // namespace microvm::host
