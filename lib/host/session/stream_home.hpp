// The Vm of a stream's handle, which may see several workers come and go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "base/error.hpp"
#include "host/base/limits.hpp"

namespace microvm::host {

class AgentLink;

// How far a program of exec has come.
enum class ExecStep : uint8_t { connected, sent, started, ended };
[[nodiscard]] constexpr const char* exec_step_name(ExecStep step) {
  constexpr const char* kNames[] = {"exec: stream to the agent", "exec: sent", "exec: started",
                                    "exec: ended"};
  return kNames[static_cast<size_t>(step)];
}

// Thread-safe.
class StreamHome {
 public:
  virtual ~StreamHome() = default;
  // Why a stream over that link has ended: vm_suspended where the Vm lives, its end otherwise. May
  // take a moment.
  virtual Error why_ended(AgentLink& link, std::string_view what) = 0;
  // Has `use` called with the agent as it is now, woken where that is needed and allowed, and again
  // where the Vm fell asleep under it.
  using Use = std::function<Result<void>(const std::shared_ptr<AgentLink>&)>;
  virtual Result<void> with_link(const Limits& limits, std::string_view what, const Use& use) = 0;

  // Of one that was begun here.
  virtual void note(ExecStep) {}

  // For calls that must not wait: `work` is done once on a thread of the Runtime, within the limits
  // that it is given there; when the Runtime ends first they are over. `look` is a moment's work,
  // `wake` may last until the Vm is awake. False: the Runtime is gone, and nothing is done.
  enum class Errand : uint8_t { look, wake };
  using Work = std::function<void(const Limits&)>;
  virtual bool later(Errand kind, Work work) = 0;
};

}  // namespace microvm::host
