#include "host/worker/reactor.hpp"

#include <csignal>
#include <system_error>

namespace microvm::host {

Reactor::Reactor(std::unique_ptr<sys::Loop> loop) : loop_(std::move(loop)) {}

Result<std::unique_ptr<Reactor>> Reactor::create() {
  // Readiness is all that is needed here; io_uring would cost each embedder a ring.
  auto loop = sys::Loop::create(sys::Loop::Backend::plain);
  if (!loop) return base::fail(loop.error());
  std::unique_ptr<Reactor> reactor(new Reactor(std::move(*loop)));
  // The embedder's signals are for the embedder's threads.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::error_code failed;
  try {
    reactor->thread_ = std::thread([raw = reactor->loop_.get()] { raw->run(); });
  } catch (const std::system_error& error) {
    failed = error.code();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failed) return base::fail_errno("start the runtime's thread", failed.value());
  return reactor;
}

Reactor::~Reactor() {
  if (!thread_.joinable()) return;
  loop_->stop();
  thread_.join();
}

}  // namespace microvm::host
