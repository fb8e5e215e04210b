#include "host/base/thread.hpp"

#include <string>
#include <system_error>

#include "base/blocked_signals.hpp"

namespace microvm::host {

Result<std::thread> start_thread(std::function<void()> body, std::string_view what) {
  const base::BlockedSignals blocked;
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    return base::fail(ErrorCode::out_of_memory,
                      std::string(what) + ": no thread: " + error.code().message());
  }
}

}  // namespace microvm::host
