#include "host/session/hook_call.hpp"

#include <poll.h>

#include "host/session/http_post.hpp"

namespace microvm::host {
namespace {

using std::chrono::milliseconds;

constexpr unsigned kDone = 200;
constexpr unsigned kAskAgain = 503;
constexpr milliseconds kPause{100};
// An app that is there listens; one that has just restarted its server does so soon.
constexpr milliseconds kRefusedPatience{500};

// Ready and validate are questions, the others are told.
bool is_question(const HookKind& kind) {
  return kind.timeout == &Hooks::ready || kind.timeout == &Hooks::validate;
}

class HookCall {
 public:
  HookCall(const HookConnect& connect, const Hooks& hooks, const HookKind& kind,
           const std::string& body, const Limits& limits)
      : connect_(connect),
        kind_(kind),
        request_{hooks.port, std::string(kHookPath) + kind.name, body},
        callers_(limits),
        limits_(limits.within(hooks.*kind.timeout)),
        what_(std::string(kind.name) + " hook") {}

  Result<void> run() {
    for (;;) {
      const auto answer = ask();
      if (answer && answer->status == kDone) return {};
      if (!answer && answer.error().code != ErrorCode::connection_refused) {
        return failed(answer.error());
      }
      last_ = answer ? describe(*answer)
                     : "nothing listens on guest port " + std::to_string(request_.port);
      if (!may_ask_again(answer ? answer->status : 0)) return failed();
      // Ends by its time or the token; ask() tells which.
      static_cast<void>(limits_.within(kPause).wait(-1, POLLIN, what_));
    }
  }

 private:
  Result<HttpAnswer> ask() {
    if (auto ok = limits_.check(what_); !ok) return base::fail(ok.error());
    const auto stream = connect_(limits_);
    if (!stream) return base::fail(stream.error());
    return http_post(stream->get(), request_, limits_, what_);
  }

  static std::string describe(const HttpAnswer& answer) {
    const std::string status = "the app answered " + std::to_string(answer.status);
    return answer.first_line.empty() ? status : status + ": " + answer.first_line;
  }

  // Status 0: nobody listened.
  [[nodiscard]] bool may_ask_again(unsigned status) const {
    if (is_question(kind_)) return status == 0 || status == kAskAgain;
    return status == 0 && Limits::Clock::now() < begin_ + kRefusedPatience;
  }

  [[nodiscard]] base::Failure failed() const {
    return base::fail(ErrorCode::guest_failed, what_ + ": " + last_);
  }

  [[nodiscard]] base::Failure failed(const Error& error) const {
    if (const auto allowed = callers_.check(what_); !allowed) return base::fail(allowed.error());
    if (error.code == ErrorCode::protocol) {
      return base::fail(ErrorCode::guest_failed, what_ + ": " + error.message);
    }
    if (error.code == ErrorCode::deadline_exceeded) return too_late();
    return base::fail(error.code, error.message.starts_with(what_) ? error.message
                                                                   : what_ + ": " + error.message);
  }

  [[nodiscard]] base::Failure too_late() const {
    return base::fail(ErrorCode::guest_failed,
                      what_ + ": its time is over: " + (last_.empty() ? "no answer" : last_));
  }

  const HookConnect& connect_;
  const HookKind& kind_;
  const HttpPost request_;
  const Limits& callers_;
  const Limits limits_;  // the caller's and the hook's own
  const std::string what_;
  const Limits::Clock::time_point begin_ = Limits::Clock::now();
  std::string last_;  // why it is asked again
};

}  // namespace

Result<void> call_hook(const HookConnect& connect, const Hooks& hooks, const HookKind& kind,
                       const std::string& body, const Limits& limits) {
  return HookCall(connect, hooks, kind, body, limits).run();
}

Result<void> call_hook(AgentClient& agent, const Hooks& hooks, const HookKind& kind,
                       const std::string& body, const Limits& limits) {
  const HookConnect connect = [&](const Limits& within) {
    return agent.tcp_connect(hooks.port, within);
  };
  return call_hook(connect, hooks, kind, body, limits);
}

}  // namespace microvm::host
