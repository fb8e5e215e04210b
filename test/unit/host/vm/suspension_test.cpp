#include "host/vm/suspension.hpp"

#include <doctest/doctest.h>

#include <future>

using namespace microvm;
using namespace microvm::host;

namespace {

// One that stops when it is let go, and says who is to wake the guest.
struct Stopping {
  std::promise<void> let_go;
  std::promise<bool> handed_over;
  std::shared_ptr<Suspension> suspension;

  Stopping() {
    auto started = Suspension::start([this](const Suspension::Stop& stop) -> Result<void> {
      let_go.get_future().wait();
      handed_over.set_value(stop.hand_over());
      return base::fail(ErrorCode::cancelled, "stopped");
    });
    REQUIRE(started);
    suspension = *started;
  }
};

}  // namespace

TEST_CASE("suspension: one that is waited for is handed over to who stopped it") {
  Stopping t;
  t.suspension->request_stop();
  t.let_go.set_value();
  CHECK(t.suspension->wait(Limits({})).error().code == ErrorCode::cancelled);
  CHECK(t.handed_over.get_future().get());
  CHECK_FALSE(t.suspension->leave());  // it is the waiter's by now
}

TEST_CASE("suspension: one that was left wakes the guest by itself, however many leave it") {
  Stopping t;
  t.suspension->request_stop();
  const CallLimits soon{.cancel = nullptr, .timeout = std::chrono::milliseconds(10)};
  CHECK(t.suspension->wait(Limits(soon)).error().code == ErrorCode::deadline_exceeded);
  CHECK(t.suspension->leave());
  CHECK(t.suspension->leave());
  t.let_go.set_value();
  CHECK_FALSE(t.handed_over.get_future().get());
}
