#include "host/saved/how_it_ended.hpp"

#include <array>

#include "host/base/printable.hpp"

namespace microvm {

const char* vm_end_name(VmEnd end) noexcept {
  static constexpr std::array kNames = {"none",     "terminated", "powered_off", "reset",
                                        "panicked", "crashed",    "killed"};
  const auto index = static_cast<size_t>(end);
  return index < kNames.size() ? kNames[index] : "unknown";
}

}  // namespace microvm

namespace microvm::host {
namespace {

VmEnd kind_of_end(wire::ExitEvent::Reason reason) {
  using Reason = wire::ExitEvent::Reason;
  switch (reason) {
    case Reason::power_off:
      return VmEnd::powered_off;
    case Reason::reset:
      return VmEnd::reset;
    case Reason::panic:
      return VmEnd::panicked;
    case Reason::triple_fault:
    case Reason::internal_error:
      return VmEnd::crashed;
    case Reason::terminated:
    case Reason::suspended:
      break;
  }
  return VmEnd::terminated;
}

}  // namespace

std::string describe_exit(const wire::ExitEvent& exit) {
  using Reason = wire::ExitEvent::Reason;
  const std::string detail = exit.detail.empty() ? "" : ": " + printable(exit.detail);
  switch (exit.reason) {
    case Reason::terminated:
      return "terminated";
    case Reason::power_off:
      return "the guest powered off";
    case Reason::reset:
      return "the guest reset itself" + detail;
    case Reason::panic:
      return "the guest's kernel panicked" + detail;
    case Reason::triple_fault:
      return "the guest stopped with a triple fault" + detail;
    case Reason::suspended:
      return "suspended";
    case Reason::internal_error:
      return "the machine could not go on" + detail;
  }
  return "ended";
}

VmEnding killed_reason(std::string text) {
  return {VmEnd::killed, text.empty() ? "its worker was killed" : std::move(text)};
}

VmEnding end_reason(const wire::ExitEvent& exit) {
  return {kind_of_end(exit.reason), describe_exit(exit)};
}

// Who was asked to end it and died before it could tell leaves no trace but that.
std::string_view cause_of_end(const VmEnding& reason, bool dies_with_owner) {
  if (reason.end != VmEnd::terminated) return kCauseItself;
  return dies_with_owner ? kCauseOwner : kCauseCall;
}

Error exit_error(std::string_view what, const wire::ExitEvent& exit) {
  using Reason = wire::ExitEvent::Reason;
  const bool planned = exit.reason == Reason::terminated || exit.reason == Reason::power_off ||
                       exit.reason == Reason::suspended;
  return Error{planned ? ErrorCode::vm_gone : ErrorCode::guest_failed,
               std::string(what) + ": " + describe_exit(exit)};
}

}  // namespace microvm::host
