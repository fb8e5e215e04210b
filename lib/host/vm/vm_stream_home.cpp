#include "host/vm/vm_stream_home.hpp"

#include <utility>

namespace microvm::host {
namespace {

// However long a guest is in waking up.
constexpr std::chrono::seconds kStreamErrandLimit{120};

// Done once: when its time comes, or when the Runtime drops it, since somebody waits for what comes
// of it.
class StreamErrand {
 public:
  StreamErrand(StreamHome::Work work, const CancelToken& token)
      : work_(std::move(work)), token_(token) {}
  ~StreamErrand() { do_once(); }
  StreamErrand(const StreamErrand&) = delete;
  StreamErrand& operator=(const StreamErrand&) = delete;

  void do_once() {
    const CallLimits limits{.cancel = &token_, .timeout = kStreamErrandLimit};
    if (const auto work = std::exchange(work_, nullptr)) work(Limits(limits));
  }
  void forget() { work_ = nullptr; }

 private:
  StreamHome::Work work_;
  const CancelToken token_;
};

class VmStreamHome final : public StreamHome {
 public:
  explicit VmStreamHome(std::weak_ptr<Vm::Impl> vm) : vm_(std::move(vm)) {}

  Error why_ended(AgentLink& link, std::string_view what) override {
    Error why = link.broken(what);
    const auto vm = vm_.lock();
    if (!vm || !link.over()) return why;
    const VmState now = vm->state();
    if (now == VmState::terminated || now == VmState::terminating) return why;
    return {ErrorCode::vm_suspended, std::string(what) + ": microvm " + vm->record.id +
                                         " was suspended or rolled back: attach again"};
  }

  Result<void> with_link(const Limits& limits, std::string_view what, const Use& use) override {
    const auto vm = vm_.lock();
    if (!vm) {
      return base::fail(ErrorCode::vm_gone,
                        std::string(what) + ": nobody holds the stream's microvm any more");
    }
    for (;;) {
      const auto session = vm->session(limits, what);
      if (!session) return base::fail(session.error());
      const auto& link = (*session)->agent.link();
      auto used = use(link);
      if (used || used.error().code != ErrorCode::vm_gone || !link->over() || vm->ended()) {
        return used;
      }
      if (auto ok = limits.check(what); !ok) return ok;
    }
  }

  void note(ExecStep step) override {
    if (const auto vm = vm_.lock()) vm->note_exec(step);
  }

  bool later(Errand kind, Work work) override {
    const auto vm = vm_.lock();
    if (!vm) return false;
    Errands& errands = kind == Errand::wake ? vm->core->wakes : vm->core->looks;
    const auto task = std::make_shared<StreamErrand>(std::move(work), errands.token());
    const bool begun = errands.add([task] { task->do_once(); });
    if (!begun) task->forget();
    return begun;
  }

 private:
  const std::weak_ptr<Vm::Impl> vm_;
};

}  // namespace

std::shared_ptr<StreamHome> make_stream_home(const std::shared_ptr<Vm::Impl>& vm) {
  return std::make_shared<VmStreamHome>(vm);
}

}  // namespace microvm::host
