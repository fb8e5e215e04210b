#include "host/worker/reactor.hpp"

#include "host/base/thread.hpp"

namespace microvm::host {

Reactor::Reactor(std::unique_ptr<sys::Loop> loop) : loop_(std::move(loop)) {}

Result<std::unique_ptr<Reactor>> Reactor::create() {
  // Readiness is all that is needed here; io_uring would cost each embedder a ring.
  auto loop = sys::Loop::create(sys::Loop::Backend::plain);
  if (!loop) return base::fail(loop.error());
  std::unique_ptr<Reactor> reactor(new Reactor(std::move(*loop)));
  auto thread = start_thread([raw = reactor->loop_.get()] { raw->run(); }, "open the runtime");
  if (!thread) return base::fail(thread.error());
  reactor->thread_ = std::move(*thread);
  return reactor;
}

Reactor::~Reactor() {
  if (!thread_.joinable()) return;
  loop_->stop();
  thread_.join();
}

}  // namespace microvm::host
