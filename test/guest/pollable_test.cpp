// Streams and the end of a microVM for a thread that polls and never waits in a call.
#include <poll.h>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr CallLimits kPollLong{.cancel = nullptr, .timeout = std::chrono::seconds(120)};

bool comes(int fd, int timeout_ms) {
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&ready, 1, timeout_ms) == 1;
}

// The call's result, once there is one.
template <class Call>
auto polled(int fd, Call&& call) {
  for (;;) {
    auto result = call();
    if (result || result.error().code != ErrorCode::would_block) return result;
    REQUIRE(comes(fd, 120'000));
  }
}

// Until so many bytes have come, or the end.
template <class Stream>
std::string poll_some(Stream& stream, size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    const auto output = polled(stream.fd(), [&] { return stream.try_read(); });
    REQUIRE_MESSAGE(output, why(output));
    if (!*output) break;
    text.append(reinterpret_cast<const char*>((*output)->data.data()), (*output)->data.size());
  }
  return text;
}

}  // namespace

TEST_CASE("one thread polls a program, a terminal, a watch and the end, over a suspend") {
  RunningVm vm = run_counter();
  ExecOptions counting;
  counting.argv = {"sh", "-c",
                   "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 7"};
  counting.reattach = true;
  auto program = vm.exec(counting);
  REQUIRE_MESSAGE(program, why(program));
  auto terminal = vm.pty({.argv = {"sh", "-c", "echo here; exec sleep 1000"}, .id = "t"});
  REQUIRE_MESSAGE(terminal, why(terminal));
  auto watch = vm.watch("/root", {}, kPollLong);
  REQUIRE_MESSAGE(watch, why(watch));
  const auto end = vm.end_fd();
  REQUIRE_MESSAGE(end, why(end));

  std::string text = poll_some(*program, 200);
  CHECK(poll_some(*terminal, 6) == "here\r\n");
  CHECK(terminal->try_read().error().code == ErrorCode::would_block);
  CHECK(watch->try_next().error().code == ErrorCode::would_block);
  suspend(vm);
  const auto seen = polled(watch->fd(), [&] { return watch->try_next(); });
  CHECK(seen.error().code == ErrorCode::vm_suspended);
  const auto shown = polled(terminal->fd(), [&] { return terminal->try_read(); });
  CHECK(shown.error().code == ErrorCode::vm_suspended);
  CHECK_FALSE(comes(*end, 0));

  text += poll_some(*program, SIZE_MAX);  // wakes it
  std::string all;
  for (int i = 0; i < 3000; i++) all += "line " + std::to_string(i) + "\n";
  CHECK(text == all);
  const auto status = polled(program->fd(), [&] { return program->try_wait(); });
  REQUIRE_MESSAGE(status, why(status));
  CHECK(status->code == 7);
  auto again = vm.attach_pty("t", {.position = terminal->position()}, kPollLong);
  CHECK_MESSAGE(again, why(again));

  const std::string input(2u << 20, 'x');
  const auto copied = vm.exec_collect({.argv = {"cat"}}, {.max_bytes = 4u << 20, .input = input});
  REQUIRE_MESSAGE(copied, why(copied));
  CHECK(copied->out == input);

  CHECK(vm.try_wait().error().code == ErrorCode::would_block);
  REQUIRE(vm.terminate());
  CHECK(comes(*end, 20'000));
  CHECK(vm.try_wait()->end == VmEnd::terminated);
}
