// vms/<id>/: the files of one Vm. What runs does not survive the host's crash and is not synced;
// what was saved does (vm_files.hpp).
//   vm.json      what it is (vm_record.hpp); written under another name and renamed
//   exit         how its worker ended, written by the worker (state/exit_record.hpp). It also holds
//                a flock on it as long as it lives, so that any process can tell the living from
//                the dead. The owner of a Vm that dies with it holds the same lock: nobody else
//                collects or resumes it
//   change       locked by who changes its state (change_lock.hpp)
//   told         there once somebody tells of its end (see claim_end())
//   control.sock where the worker listens
//   network      what its guest may reach (host/network/setup_file.hpp), and net.sock, where its
//                network process listens
//   logs, kernel.log, app.log   see vm_logs.hpp
//   disk-*, pages-*, state-*, run.json, saved.json   see vm_files.hpp
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "host/saved/how_it_ended.hpp"
#include "host/saved/vm_files.hpp"
#include "host/saved/vm_logs.hpp"
#include "host/saved/vm_record.hpp"
#include "host/store/store.hpp"

namespace microvm::host {

// What a worker is given of the directory. The launching process lets go of them once it has.
struct WorkerFiles {
  base::Fd listener;
  base::Fd exit_record;  // locked
  base::Fd kernel_log;
  base::Fd app_log;
  base::Fd kept_logs;  // invalid: the file is of a newer version
  base::Fd layer;      // new and empty
  base::Fd home;       // the directory itself, for the network's process
};

// The lock of a Vm nobody holds. Error: busy.
Result<base::Fd> lock_vm(const std::filesystem::path& vm_dir);
// For a new worker of the Vm whose lock is given: what the last one left of exit and socket goes.
// Error unsupported: the exit record is of a newer version.
Result<WorkerFiles> make_worker_files(const std::filesystem::path& vm_dir, base::Fd lock,
                                      const std::string& layer);

// Removes the directory (and its name) unless keep() was called: a launch that fails leaves
// nothing.
class NewVmDirectory {
 public:
  // With a fresh id; `name` may be empty. Errors: already_exists (the name), invalid_argument.
  static Result<NewVmDirectory> create(const Store& store, const std::string& name);
  NewVmDirectory(NewVmDirectory&& other) noexcept;
  NewVmDirectory& operator=(NewVmDirectory&&) = delete;
  ~NewVmDirectory();

  Result<WorkerFiles> make_files(const std::string& layer);
  Result<void> write_record(const VmRecord& record);
  void keep() { store_ = nullptr; }

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  NewVmDirectory(const Store& store, std::string id, std::string name);
  Result<void> open_directory();
  Result<void> claim_name();

  const Store* store_;
  std::string id_;
  std::string name_;
  bool named_ = false;
  std::filesystem::path path_;
  base::Fd directory_;
};

// [a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}
bool is_vm_name(std::string_view name) noexcept;

// Of a Vm that is there; after return and after any crash it is the old or the new one.
Result<void> replace_record(const std::filesystem::path& vm_dir, const VmRecord& record);
Result<VmRecord> read_record(const std::filesystem::path& vm_dir);
// True while a worker (or the owner of a Vm that dies with it) holds the lock, or a launch is under
// way.
bool is_locked(const std::filesystem::path& vm_dir);
// What the directory says of a Vm. `locked_by_us`: the lock is our own and its worker has ended.
enum class VmPhase { running, suspended, ended };
VmPhase find_phase(const std::filesystem::path& vm_dir, bool locked_by_us = false);
// Empty: there is none, or none that can be read.
std::optional<wire::ExitEvent> read_exit(const std::filesystem::path& vm_dir);
// Before anything of a Vm that sleeps is changed: what a newer library's worker has left may mean
// what is not known here. Error unsupported.
Result<void> check_exit_known(int exit_record_fd);
Result<void> check_exit_known(const std::filesystem::path& vm_dir);
// In the place of the worker of a Vm that has none. Error unsupported: there is one of a newer
// version, which stays.
Result<void> write_exit(int exit_record_fd, const wire::ExitEvent& exit);
// State, reason and worker as the directory has them.
void fill_state(VmInfo& info, const std::filesystem::path& vm_dir, VmPhase phase);
// From the directory alone, without asking its worker. Of one that a newer library made only id and
// state, and in `state_reason` that it is. Empty when it is not a Vm (any more).
std::optional<VmInfo> describe_vm(const Store& store, const std::string& id);
// Of one without a worker. Error io: also when that was killed and has left less than it should.
Result<LogText> read_log(const std::filesystem::path& vm_dir, LogSource source);

// A connected control socket. Error: vm_gone.
Result<base::Fd> connect_control(const std::filesystem::path& vm_dir);

// The id a name, an id or an unambiguous beginning of an id stands for. Errors: not_found,
// invalid_argument (ambiguous).
Result<std::string> resolve_vm(const Store& store, const std::string& id_or_name);

// Removes the directory and the name that stands for it.
Result<void> remove_vm(const Store& store, const std::string& id);
// True for one of all that ask, in whatever process: that one tells everybody that the Vm has
// ended. False for all of them when the Vm was removed.
bool claim_end(const std::filesystem::path& vm_dir);
// Removes what only a Vm that has not ended needs: disks, saved state, socket.
void remove_remains(const std::filesystem::path& vm_dir) noexcept;
// A Vm in nobody's hands: no worker, no owner, no resume of it can begin while this is held.
struct UnheldVm {
  base::Fd lock;                   // invalid: its launch died before there was one
  std::optional<VmRecord> record;  // empty: missing or damaged
};
// Empty: somebody has it in hand, or that can not be told now.
std::optional<UnheldVm> take_unheld(const std::filesystem::path& vm_dir);
// One that may sleep: nobody knows whether it should live, so it is kept until it is removed by id.
bool is_unreadable_sleeper(const UnheldVm& vm, const std::filesystem::path& vm_dir);
// Removes what dead owners left. Entries that cannot be removed stay for the next time. What comes
// back are those whose end is the caller's to tell.
struct DeadVm {
  std::string id;
  VmEnding reason;
};
std::vector<DeadVm> collect_dead_vms(const Store& store);

}  // namespace microvm::host
