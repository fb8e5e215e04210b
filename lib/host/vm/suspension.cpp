#include "host/vm/suspension.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "host/base/thread.hpp"

namespace microvm::host {

Result<std::shared_ptr<Suspension>> Suspension::start(Work work) {
  base::Fd done(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!done) return base::fail_errno("suspend: eventfd");
  std::shared_ptr<Suspension> suspension(new Suspension(std::move(done)));
  auto thread = start_thread([self = suspension.get(), work = std::move(work)] { self->run(work); },
                             "suspend");
  if (!thread) return base::fail(thread.error());
  suspension->thread_ = std::move(*thread);
  return suspension;
}

bool Suspension::Stop::hand_over() const {
  auto hands = Hands::nobody;
  return hands_.compare_exchange_strong(hands, Hands::stopper) || hands == Hands::stopper;
}

bool Suspension::leave() {
  auto hands = Stop::Hands::nobody;
  return stop_.hands_.compare_exchange_strong(hands, Stop::Hands::thread) ||
         hands == Stop::Hands::thread;
}

Suspension::~Suspension() {
  if (thread_.joinable()) thread_.join();
}

void Suspension::run(const Work& work) {
  result_ = work(stop_);
  over_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] const auto raised = ::write(done_.get(), &one, sizeof one);
}

Result<void> Suspension::wait(const Limits& limits) const {
  if (auto ok = limits.wait(done_.get(), POLLIN, "suspend"); !ok) return ok;
  return result_;
}

}  // namespace microvm::host
