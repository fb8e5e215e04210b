// Calls of a Vm that wait without a thread: thousands may be held while it wakes up.
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::AwaitedSession;
using host::AwaitedSocket;
using host::AwakeQueue;
using host::Limits;

namespace {

// Of an attempt that serves all, whatever their own limits.
constexpr std::chrono::seconds kWakeLimit{120};
constexpr int kConnectAttempts = 3;

}  // namespace

std::shared_ptr<AwaitedSession> Vm::Impl::when_awake(std::string_view what,
                                                     std::chrono::milliseconds limit,
                                                     AwaitedSession::Done done,
                                                     std::function<bool()> given_up) {
  auto waiter = std::make_shared<AwaitedSession>(std::move(done), std::move(given_up));
  if (auto settled = live_.settled(); settled && !settled->client->ending()) {
    core->reactor->post([waiter, settled] { waiter->deliver(settled); });
    return waiter;
  }
  core->reactor->post(
      [&reactor = *core->reactor, limit, text = std::string(what), late = std::weak_ptr(waiter)] {
        reactor.loop().after(limit, [text, late] {
          if (const auto waiting = late.lock()) {
            waiting->deliver(
                base::fail(ErrorCode::deadline_exceeded, text + ": the time limit passed"));
          }
        });
      });
  const uint32_t most = core->waiting_calls.most();
  switch (awake_queue_.add(waiter, most)) {
    case AwakeQueue::Added::under_way:
      break;
    case AwakeQueue::Added::begin:
      begin_waking(std::string(what));
      break;
    case AwakeQueue::Added::too_many:
      deliver_later(waiter, base::fail(ErrorCode::busy,
                                       std::string(what) + ": " + std::to_string(most) +
                                           " calls wait for microvm " + record.id + " already"));
  }
  return waiter;
}

void Vm::Impl::deliver_later(std::shared_ptr<AwaitedSession> waiter,
                             Result<std::shared_ptr<Session>> result) {
  core->reactor->post(
      [waiter = std::move(waiter), result = std::move(result)] { waiter->deliver(result); });
}

void Vm::Impl::begin_waking(const std::string& what) {
  const bool begun = core->wakes.add([vm = weak_from_this(), what] {
    const auto held = vm.lock();
    if (!held) return;
    const CallLimits limits{.cancel = &held->core->wakes.token(), .timeout = kWakeLimit};
    const auto awake = held->session(Limits(limits), what);
    for (const auto& waiter : held->awake_queue_.take()) held->deliver_later(waiter, awake);
  });
  if (begun) return;
  for (const auto& waiter : awake_queue_.take()) {
    deliver_later(waiter,
                  base::fail(ErrorCode::out_of_memory, what + ": no thread to wake " + record.id));
  }
}

std::shared_ptr<AwaitedSocket> Vm::Impl::connect_later(uint16_t port,
                                                       std::chrono::milliseconds limit,
                                                       AwaitedSocket::Done done) {
  auto result = std::make_shared<AwaitedSocket>(std::move(done));
  auto connect = std::make_shared<host::PendingConnect>(*core->reactor, port, result);
  core->reactor->post([connect, limit] { connect->end_after(limit); });
  try_connect(connect, limit, kConnectAttempts);
  return result;
}

// The reactor must not hold a Vm: another attempt is an errand's.
void Vm::Impl::try_connect(const std::shared_ptr<host::PendingConnect>& connect,
                           std::chrono::milliseconds limit, int attempts_left) {
  const auto on_gone = [&errands = core->errands, reactor = core->reactor.get(),
                        vm = weak_from_this(), limit, attempts_left](
                           const std::shared_ptr<host::PendingConnect>& again, const Error& error) {
    // An errand that runs shows that the Runtime and its reactor are there.
    const auto retry = [reactor, vm, limit, attempts_left, again, error] {
      if (const auto held = vm.lock()) {
        held->try_connect(again, limit, attempts_left - 1);
      } else {
        reactor->post([again, error] { again->finish(base::fail(error)); });
      }
    };
    if (attempts_left == 1 || !errands.add(retry)) again->finish(base::fail(error));
  };
  when_awake(
      "connect", limit,
      [connect, on_gone](Result<std::shared_ptr<Session>> awake) {
        if (!awake) return connect->finish(base::fail(awake.error()));
        connect->start(*awake, on_gone);
      },
      [connect] { return connect->is_over(); });
}

}  // namespace microvm
