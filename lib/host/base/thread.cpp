#include "host/base/thread.hpp"

#include <csignal>
#include <string>
#include <system_error>

namespace microvm::host {

Result<std::thread> start_thread(std::function<void()> body, std::string_view what) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Result<std::thread> thread;
  try {
    thread = std::thread(std::move(body));
  } catch (const std::system_error& error) {
    thread = base::fail(ErrorCode::out_of_memory,
                        std::string(what) + ": no thread: " + error.code().message());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace microvm::host
