// Checkpoints of a running Vm, and the way back to one.
#include <unistd.h>

#include "host/base/printable.hpp"
#include "host/saved/checkpoints.hpp"
#include "host/saved/layer_checks.hpp"
#include "host/store/files.hpp"
#include "host/store/rfc3339.hpp"
#include "host/vm/transition.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;
using host::VmFileKind;

namespace {

// Makes it the saved state of the Vm. Under fresh names: those of the checkpoint may mean other
// files in the Vm's directory.
Result<void> become_saved(const host::Checkpoint& checkpoint, const std::filesystem::path& dir) {
  const auto first = host::next_file_number(dir);
  if (!first) return base::fail(first.error());
  uint64_t number = *first;
  host::SavedState saved;
  saved.saved = checkpoint.saved.saved;
  saved.checks = checkpoint.saved.checks;
  const auto link = [&](const std::string& name, VmFileKind kind, std::string& as) -> Result<void> {
    as = host::numbered_file(kind, number++);
    if (::link((checkpoint.dir / name).c_str(), (dir / as).c_str()) == 0) return {};
    return base::fail_errno("link " + (checkpoint.dir / name).string());
  };
  Result<void> ok;
  for (const std::string& name : checkpoint.saved.layers) {
    if (ok) ok = link(name, VmFileKind::layer, saved.layers.emplace_back());
  }
  for (const std::string& name : checkpoint.saved.pages) {
    if (ok) ok = link(name, VmFileKind::pages, saved.pages.emplace_back());
  }
  if (ok) ok = link(checkpoint.saved.state, VmFileKind::state, saved.state);
  if (ok) ok = host::sync_path(dir);
  return ok ? host::write_saved(dir, saved) : ok;
}

}  // namespace

Result<CheckpointInfo> Vm::Impl::checkpoint(const std::string& name, const Limits& limits) {
  constexpr std::string_view kWhat = "checkpoint";
  const host::Stopwatch clock;
  if (!name.empty() && !host::is_vm_name(name)) {
    return base::fail(
        ErrorCode::invalid_argument,
        "checkpoint name " + host::printable(name) + ": only letters, digits and _.- , 63 at most");
  }
  // Before it costs a pause; whoever is first at the end gets it.
  if (auto ok = host::check_checkpoint_name_free(core->store, name); !ok) {
    return base::fail(ok.error());
  }
  auto entry = core->store.new_entry();
  if (!entry) return base::fail(entry.error());
  if (auto ok = shed_layers(limits); !ok) return base::fail(ok.error());
  const auto awake = hold_awake(limits, kWhat);
  if (!awake) return base::fail(awake.error());
  const auto captured = capture_frozen(*awake->session, {.run_on = true}, true, limits);
  if (!captured) return base::fail(captured.error());
  const auto saved = host::save_captured(*captured, dir, entry->dir(), nullptr, limits);
  if (!saved) return base::fail(saved.error());
  CheckpointInfo info;
  info.name = name;
  info.vm_id = record.id;
  info.image = record.image;
  info.created = host::rfc3339_now();
  info.memory_bytes = record.memory_bytes;
  info.vcpus = record.vcpus;
  auto kept = host::commit_checkpoint(core->store, std::move(*entry), std::move(info), *saved,
                                      host::CallCheck(limits, std::string(kWhat)));
  if (!kept) return kept;
  tell(VmEvent::Kind::checkpointed, std::string(kCauseCall), clock.us(),
       kept->id + ", paused for " + std::to_string(captured->pause_us) + " us");
  return kept;
}

// The checkpoint becomes the saved state before the worker goes: whatever dies in between, one of
// the two is there, whole.
Result<void> Vm::Impl::rollback(const std::string& id_or_name, const Limits& limits) {
  constexpr std::string_view kWhat = "roll back";
  const host::Stopwatch clock;
  const auto checkpoint = host::open_checkpoint(core->store, id_or_name);
  if (!checkpoint) return base::fail(checkpoint.error());
  if (checkpoint->info.vm_id != record.id) {
    return base::fail(ErrorCode::invalid_argument,
                      "roll back: checkpoint " + checkpoint->info.id + " is of microvm " +
                          checkpoint->info.vm_id + ", not of " + record.id + ": run it instead");
  }
  const auto change = Transition::begin(*this, limits, kWhat);
  if (!change) return base::fail(change.error());
  const auto check_not_ended = [this]() -> Result<void> {
    if (host::judge(host::VmCall::rollback, guest_state()) != host::Verdict::gone) return {};
    return base::fail(ErrorCode::vm_gone, "roll back: microvm " + record.id + " has ended");
  };
  if (auto ok = check_not_ended(); !ok) return ok;
  if (auto ok = check_may_restart(kWhat); !ok) return ok;
  if (auto ok = host::check_exit_known(dir); !ok) return ok;
  // A damaged checkpoint is found while there is still something to go on with.
  const auto pages = host::expand_pages(checkpoint->dir, checkpoint->saved, record.memory_bytes);
  if (!pages) return base::fail(pages.error());
  if (auto ok = host::verify_layers(checkpoint->dir, checkpoint->saved, limits); !ok) return ok;
  const auto stopped = stop_suspension(Stopping::at_once, limits, kWhat);
  if (!stopped) return base::fail(stopped.error());
  const bool stands = *stopped;
  Waking waking(*this);
  waking.hold();
  // Its worker may have died under the suspension.
  if (auto ok = check_not_ended(); !ok) return ok;
  if (auto ok = become_saved(*checkpoint, dir); !ok) {
    if (const auto session = stands ? worker_session() : nullptr) {
      take_back(*session, std::string(kCauseCall), NewTop::drop);
    }
    return ok;
  }
  if (const auto worker = worker_session()) release_worker(*worker);
  if (auto ok = start_from_saved(limits); !ok) return ok;
  inform_resumed(std::string(kCauseCall), limits);
  tell(VmEvent::Kind::rolled_back, std::string(kCauseCall), clock.us(), checkpoint->info.id);
  return {};
}

}  // namespace microvm
