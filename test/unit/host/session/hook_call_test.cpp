#include "host/session/hook_call.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <thread>

#include "sys/socket.hpp"

using namespace microvm;
using namespace microvm::host;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr const char* kRefused = "refused";
constexpr const char* kSilent = "silent";

// Gives one answer after the other, the last one again and again.
class App {
 public:
  explicit App(std::vector<std::string> answers) : answers_(std::move(answers)) {}

  Result<base::Fd> operator()(const Limits&) {
    const std::string& answer = answers_[std::min(calls_++, answers_.size() - 1)];
    if (answer == kRefused) return base::fail(ErrorCode::connection_refused, "refused");
    auto pair = sys::stream_pair();
    if (!pair) return base::fail(pair.error());
    if (answer != kSilent) {
      ::send(pair->second.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      ::shutdown(pair->second.get(), SHUT_WR);
    }
    app_ends_.push_back(std::move(pair->second));
    return std::move(pair->first);
  }
  [[nodiscard]] size_t calls() const { return calls_; }

 private:
  std::vector<std::string> answers_;
  std::vector<base::Fd> app_ends_;
  size_t calls_ = 0;
};

std::string status(int code, const std::string& body = {}) {
  return "HTTP/1.1 " + std::to_string(code) + " X\r\n\r\n" + body;
}

Hooks hooks(milliseconds timeout = seconds(20)) {
  return {.port = 99,
          .ready = timeout,
          .validate = timeout,
          .run = timeout,
          .suspend = timeout,
          .resume = timeout,
          .terminate = timeout};
}

Result<void> call(App& app, const HookKind& kind, milliseconds timeout = seconds(20),
                  const CallLimits& limits = {}) {
  return call_hook(std::ref(app), hooks(timeout), kind, "{}", Limits(limits));
}

Error error_of(std::vector<std::string> answers, const HookKind& kind,
               milliseconds timeout = seconds(20), const CallLimits& limits = {}) {
  App app(std::move(answers));
  const auto done = call(app, kind, timeout, limits);
  REQUIRE_FALSE(done);
  CHECK(done.error().message.starts_with(std::string(kind.name) + " hook: "));
  return done.error();
}

}  // namespace

TEST_CASE("hook call: 200 is done, for every hook, at once") {
  for (const HookKind& kind : kHookKinds) {
    App app({status(200)});
    CHECK(call(app, kind));
    CHECK(app.calls() == 1);
  }
}

TEST_CASE("hook call: ready and validate ask again, after 503 and while nobody listens") {
  for (const HookKind& kind : {kReadyHook, kValidateHook}) {
    App app({kRefused, status(503), kRefused, status(503), status(200)});
    CHECK(call(app, kind));
    CHECK(app.calls() == 5);
    const Error no = error_of({status(503), status(500, "no disk")}, kind);
    CHECK(no.code == ErrorCode::guest_failed);
    CHECK(no.message.find("the app answered 500: no disk") != std::string::npos);
  }
}

TEST_CASE("hook call: the others are told once") {
  for (const HookKind& kind : {kRunHook, kSuspendHook, kResumeHook, kTerminateHook}) {
    App app({status(503), status(200)});
    CHECK(call(app, kind).error().code == ErrorCode::guest_failed);
    CHECK(app.calls() == 1);
    CHECK(error_of({status(204)}, kind).code == ErrorCode::guest_failed);
  }
}

TEST_CASE("hook call: one that listens again soon is called, one that does not is not waited for") {
  App app({kRefused, kRefused, status(200)});
  CHECK(call(app, kRunHook));
  const auto begin = Limits::Clock::now();
  const Error error = error_of({kRefused}, kRunHook);
  CHECK(error.code == ErrorCode::guest_failed);
  CHECK(error.message == "run hook: nothing listens on guest port 99");
  CHECK(Limits::Clock::now() - begin < seconds(10));
}

TEST_CASE("hook call: no answer in time is the guest's failure, and says what came before") {
  CHECK(error_of({kSilent}, kSuspendHook, milliseconds(50)).code == ErrorCode::guest_failed);
  const Error warming = error_of({status(503, "warming up")}, kReadyHook, milliseconds(250));
  CHECK(warming.code == ErrorCode::guest_failed);
  CHECK(warming.message == "ready hook: its time is over: the app answered 503: warming up");
}

TEST_CASE("hook call: the caller's time and token are the caller's") {
  const CallLimits short_time{nullptr, milliseconds(50)};
  CHECK(error_of({kSilent}, kRunHook, seconds(20), short_time).code ==
        ErrorCode::deadline_exceeded);
  CHECK(error_of({status(503)}, kReadyHook, seconds(20), short_time).code ==
        ErrorCode::deadline_exceeded);
  CancelToken token;
  std::jthread canceller([&] {
    std::this_thread::sleep_for(milliseconds(50));
    token.cancel();
  });
  CHECK(error_of({kSilent}, kRunHook, seconds(20), {&token, {}}).code == ErrorCode::cancelled);
}

TEST_CASE("hook call: what is no HTTP is a failure, not another try") {
  for (const char* bytes : {"", "garbage", "SSH-2.0-x\r\n\r\n"}) {
    App app({bytes, status(200)});
    CHECK(call(app, kReadyHook).error().code == ErrorCode::guest_failed);
    CHECK(app.calls() == 1);
  }
}
