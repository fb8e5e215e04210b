// When the app of a Vm is told of what becomes of it (microvm/hooks.hpp). All of it runs inside the
// change of state it belongs to, so none of it may ask for a session: that would wait for this very
// change.
#include "host/session/hook_call.hpp"
#include "host/store/json_fields.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;

namespace {

constexpr const char* kIdField = "microvmId";

// What the Vm's own end or its guest's bytes did to the hook; the caller's limits stay theirs.
Error run_error(Error error) {
  if (error.code == ErrorCode::vm_gone) error.code = ErrorCode::guest_failed;
  return error;
}

}  // namespace

Result<void> Vm::Impl::call_hook(Session& session, const HookKind& kind, const std::string& body,
                                 const std::string& cause, const Limits& limits) {
  if (!kind.is_on(config.hooks) || session.client->ended()) return {};
  const host::Stopwatch clock;
  auto done = host::call_hook(session.agent, config.hooks, kind, body, limits);
  if (!done) tell(VmEvent::Kind::hook_failed, cause, clock.us(), done.error().message);
  return done;
}

void Vm::Impl::inform(Session& session, const HookKind& kind, const std::string& cause,
                      const Limits& limits) {
  static_cast<void>(
      call_hook(session, kind, host::json_line({{kIdField, record.id}}), cause, limits));
}

void Vm::Impl::inform_resumed(const std::string& cause, const Limits& limits) {
  if (const auto session = live_.last_session()) inform(*session, kResumeHook, cause, limits);
}

Result<void> Vm::Impl::call_run_hook(const std::string& payload, const Limits& limits) {
  if (!kRunHook.is_on(config.hooks)) return {};
  const auto body =
      host::dump_json({{kIdField, record.id}, {"runHookPayload", payload}}, "payload");
  if (!body) return base::fail(body.error());
  const auto running = running_session();
  if (!running) return base::fail(ErrorCode::vm_gone, "run hook: the microvm has ended");
  return call_hook(*running, kRunHook, *body, std::string(kCauseCall), limits);
}

Result<void> Vm::Impl::begin_run(const std::string& payload, const Limits& limits,
                                 const host::Stopwatch& clock) {
  ++keepers;  // it is not idle while its app answers
  const auto told = call_run_hook(payload, limits);
  --keepers;
  if (kRunHook.is_on(config.hooks)) clock.mark("the run hook's answer");
  if (told) {
    tell(VmEvent::Kind::started, std::string(kCauseCall), clock.us(), record.image);
    return {};
  }
  static_cast<void>(terminate(std::string(kCauseRunHook)));
  static_cast<void>(remove());
  return base::fail(run_error(told.error()));
}

}  // namespace microvm
