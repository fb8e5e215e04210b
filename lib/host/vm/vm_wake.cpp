// Resume: from memory while the worker still holds the paused guest, else from the saved state.
#include <fcntl.h>

#include <optional>
#include <thread>

#include "host/base/beside.hpp"
#include "host/saved/layer_checks.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/store/files.hpp"
#include "host/vm/transition.hpp"
#include "host/vm/vm_impl.hpp"
#include "sys/file.hpp"

namespace microvm {

using host::Limits;
using host::SavedState;

namespace {

constexpr std::chrono::seconds kThawAfterWakeLimit{30};
constexpr std::chrono::seconds kStartLimit{60};
constexpr std::chrono::milliseconds kLookAgain{2};

// So that a later process finds it suspended, and not killed.
Result<void> mark_suspended(const base::Fd& exit_record) {
  return host::write_exit(exit_record.get(), {wire::ExitEvent::Reason::suspended, {}, {}});
}

constexpr const char* kKeepLock = "keep the microvm's lock";

}  // namespace

// The guest is still in its paused worker.
Result<void> Vm::Impl::wake_in_memory(NewTop top) {
  const auto session = live_.last_session();
  if (!session) return base::fail(ErrorCode::vm_gone, "resume: its worker has ended");
  if (auto running = run_on(*session, top); !running) return running;
  return session->agent.thaw(Limits({}, kThawAfterWakeLimit));
}

Result<void> Vm::Impl::resume(const Limits& limits, std::string_view cause,
                              const ResumeOptions& options) {
  const auto change = Transition::begin(*this, limits, "resume");
  if (!change) return base::fail(change.error());
  const host::Stopwatch clock;
  Waking waking(*this);
  const bool was_watched = idle_target != nullptr;
  if (options.idle && guest_state() != VmState::terminated) {  // of that wake() says so
    if (auto ok = replace_policy(*options.idle); !ok) return ok;
  }
  const auto woken = wake(waking, limits);
  if (was_watched || (woken && options.idle)) watch_idleness();
  if (!woken) return base::fail(woken.error());
  if (!*woken) return {};
  ++resumes;
  inform_resumed(std::string(cause), limits);
  tell(VmEvent::Kind::resumed, std::string(cause), clock.us());
  return {};
}

Result<bool> Vm::Impl::wake(Waking& waking, const Limits& limits) {
  const auto woken = [](Result<void> done) -> Result<bool> {
    if (!done) return base::fail(done.error());
    return true;
  };
  if (auto ok = limits.check("resume"); !ok) return base::fail(ok.error());
  const auto stands =
      stop_suspension(has_many_layers() ? Stopping::let_end : Stopping::at_once, limits, "resume");
  if (!stands) return base::fail(stands.error());
  if (*stands) {
    waking.hold();
    return woken(wake_in_memory(NewTop::drop));
  }
  for (;;) {
    const VmState now = guest_state();
    if (now == VmState::suspended) {
      waking.hold();
      return woken(start_from_saved(limits));
    }
    if (now == VmState::terminated) {
      return base::fail(ErrorCode::vm_gone, "resume: microvm " + record.id + " has ended");
    }
    if (worker_session()) return false;
    if (auto ok = limits.check("resume"); !ok) return base::fail(ok.error());
    std::this_thread::sleep_for(kLookAgain);
  }
}

// Others hold it for a moment only: the worker before, on its way out, a process that is about to
// resume it as well, or one that only looks what has died. A Vm whose worker was killed seems to
// run meanwhile, but nobody answers.
Result<std::optional<base::Fd>> Vm::Impl::lock_asleep(const Limits& limits) {
  for (;;) {
    auto ours = live_.copy_lock();
    if (!ours) return base::fail(ours.error());
    if (*ours) return std::optional(std::move(*ours));
    auto taken = host::lock_vm(dir);
    if (!taken && record.dies_with_owner) return base::fail(taken.error());
    const host::VmPhase now = phase(taken.has_value());
    if (now == host::VmPhase::ended) return std::optional<base::Fd>();
    if (now == host::VmPhase::suspended && taken) return std::optional(std::move(*taken));
    if (now == host::VmPhase::running && worker_session()) return std::optional<base::Fd>();
    if (auto ok = limits.check("resume"); !ok) return base::fail(ok.error());
    std::this_thread::sleep_for(kLookAgain);
  }
}

Result<void> Vm::Impl::start_from_saved(const Limits& limits) {
  auto taken = lock_asleep(limits);
  if (!taken) return base::fail(taken.error());
  if (!*taken) return {};
  if (auto ok = host::check_exit_known((**taken).get()); !ok) return ok;
  const auto saved = host::read_saved(dir);
  if (!saved) return base::fail(saved.error());
  if (!*saved) {
    return base::fail(ErrorCode::corrupt, "resume: microvm " + record.id + " has no saved state");
  }
  base::Fd own_lock = std::move(**taken);
  auto kept = sys::duplicate(own_lock.get(), kKeepLock);
  if (!kept) return base::fail(kept.error());
  const host::Stopwatch clock(core->trace_start(record.id));
  auto started = start_saved_worker(**saved, std::move(own_lock), limits, clock);
  if (!started) {
    static_cast<void>(mark_suspended(*kept));
    host::keep_numbered_files(dir, (*saved)->files());
    return base::fail(started.error());
  }
  reread_policy();
  own(std::move(*started), clock.trace());
  return {};
}

Result<host::StartedWorker> Vm::Impl::start_saved_worker(const SavedState& saved, base::Fd lock,
                                                         const Limits& limits,
                                                         const host::Stopwatch& clock) {
  const auto image = host::open_image_files(core->store, record.image, limits);
  if (!image) return base::fail(image.error());
  clock.mark("the image's files opened");
  // Where no worker waits in the pool it is started while the pages are unpacked.
  std::optional<Result<host::TakenWorker>> taken;
  host::Beside taking(
      [&] {
        taken.emplace(
            host::take_worker(*core, host::shape_of(image->image.manifest), limits, clock));
      },
      "resume");

  host::StartPoint point{.resumes = true};
  auto overlay = host::expand_pages(dir, saved, record.memory_bytes);
  if (!overlay) return base::fail(overlay.error());
  point.overlays.push_back(std::move(*overlay));
  auto state = host::open_file(dir / saved.state, O_RDONLY | O_NOFOLLOW);
  if (!state) return base::fail(state.error());
  point.state = std::move(*state);
  auto layers = host::open_layers(dir, saved.layers);
  if (!layers) return base::fail(layers.error());
  point.layers = std::move(*layers);
  if (auto ok = host::verify_layers(dir, saved, limits); !ok) return base::fail(ok.error());

  taking.wait();
  if (!*taken) return base::fail(taken->error());
  // What a run that was killed has left is of no use any more.
  host::keep_numbered_files(dir, saved.files());
  const auto number = host::next_file_number(dir);
  if (!number) return base::fail(number.error());
  host::VmRun run{
      .worker_pid = (*taken)->worker.pid(), .layers = saved.layers, .pages = saved.pages};
  run.layers.push_back(host::numbered_file(host::VmFileKind::layer, *number));
  if (auto ok = host::write_run(dir, run); !ok) return base::fail(ok.error());
  auto files = host::make_worker_files(dir, std::move(lock), run.layers.back());
  if (!files) return base::fail(files.error());
  const auto tap = tap_for_resume();
  if (!tap) return base::fail(tap.error());
  clock.mark("pages unpacked, files made");
  auto identity = host::make_identity(record.hostname);
  if (!identity) return base::fail(identity.error());
  identity->machine_id = record.machine_id;
  identity->boot_id = record.boot_id;
  return host::start_worker(*core, {.what = "resume",
                                    .taken = std::move(**taken),
                                    .record = record,
                                    .image = *image,
                                    .point = point,
                                    .files = std::move(*files),
                                    .tap = tap->get(),
                                    .identity = std::move(*identity),
                                    .limits = limits.within(kStartLimit),
                                    .clock = clock});
}

}  // namespace microvm
