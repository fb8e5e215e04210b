#include "host/saved/vm_directory.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "host/base/printable.hpp"
#include "host/base/random.hpp"
#include "host/store/names.hpp"
#include "state/exit_record.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"
#include "wire/net.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVmRecordFile = "vm.json";
constexpr const char* kExitFile = "exit";
constexpr const char* kControlSocket = "control.sock";
constexpr const char* kToldFile = "told";
// Between mkdir and the lock a launch shows no sign of life; it takes microseconds.
constexpr std::chrono::seconds kLaunchGrace{60};

fs::path name_dir(const Store& store) {
  return store.data_dir() / "vm-names";
}

Result<base::Fd> create_file(int directory, const char* name) {
  return sys::open_at(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
}

// The log of the worker before this one goes on, where there was one.
Result<base::Fd> open_log_file(int directory, const char* name) {
  return sys::open_at(directory, name, O_RDWR | O_CREAT | O_NOFOLLOW);
}

Result<std::string> read_small(int fd, size_t max_bytes) {
  std::string text(max_bytes, '\0');
  const auto got = ::pread(fd, text.data(), text.size(), 0);
  if (got < 0) return base::fail_errno("read");
  text.resize(static_cast<size_t>(got));
  return text;
}

Result<std::string> read_small_file(const fs::path& path, size_t max_bytes) {
  const base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return base::fail_errno("open " + path.string());
  return read_small(fd.get(), max_bytes);
}

Result<wire::ExitEvent> load_exit(const fs::path& vm_dir) {
  const auto bytes = read_small_file(vm_dir / kExitFile, state::kMaxExitRecordBytes);
  if (!bytes) return base::fail(bytes.error());
  return state::decode_exit_record(wire::as_bytes(*bytes));
}

Result<base::Fd> open_lock(const fs::path& vm_dir) {
  base::Fd fd(::open((vm_dir / kExitFile).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return base::fail_errno("open " + (vm_dir / kExitFile).string());
  return fd;
}

bool is_young(const fs::path& vm_dir) {
  std::error_code ec;
  const auto changed = fs::last_write_time(vm_dir, ec);
  return !ec && fs::file_time_type::clock::now() - changed < kLaunchGrace;
}

// The name is a symbolic link to the id: made and found in one step each, unique by itself.
std::string named_id(const fs::path& link) {
  std::error_code ec;
  const auto target = fs::read_symlink(link, ec);
  return ec || !is_vm_id(target.string()) ? std::string() : target.string();
}

void remove_name(const Store& store, const std::string& name, const std::string& id) {
  if (!is_vm_name(name)) return;
  const fs::path link = name_dir(store) / name;
  std::error_code ec;
  if (named_id(link) == id) fs::remove(link, ec);
}

}  // namespace

bool is_vm_name(std::string_view name) noexcept {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= 63 && plain(name[0]) &&
         std::ranges::all_of(name,
                             [&](char c) { return plain(c) || c == '_' || c == '.' || c == '-'; });
}

NewVmDirectory::NewVmDirectory(const Store& store, std::string id, std::string name)
    : store_(&store), id_(std::move(id)), name_(std::move(name)), path_(store.vm_dir(id_)) {}

NewVmDirectory::NewVmDirectory(NewVmDirectory&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)),
      id_(std::move(other.id_)),
      name_(std::move(other.name_)),
      named_(other.named_),
      path_(std::move(other.path_)),
      directory_(std::move(other.directory_)) {}

NewVmDirectory::~NewVmDirectory() {
  if (store_ == nullptr) return;
  if (named_) remove_name(*store_, name_, id_);
  [[maybe_unused]] const auto gone = store_->remove_vm_dir(id_);
}

Result<NewVmDirectory> NewVmDirectory::create(const Store& store, const std::string& name) {
  if (!name.empty() && !is_vm_name(name)) {
    return base::fail(ErrorCode::invalid_argument,
                      "name " + printable(name) + ": only letters, digits and _.- , 63 at most");
  }
  auto id = random_hex(6);
  if (!id) return base::fail(id.error());
  if (auto made = store.create_vm_dir(*id); !made) return base::fail(made.error());
  NewVmDirectory directory(store, *id, name);
  if (auto opened = directory.open_directory(); !opened) return base::fail(opened.error());
  if (auto claimed = directory.claim_name(); !claimed) return base::fail(claimed.error());
  return directory;
}

Result<void> NewVmDirectory::open_directory() {
  directory_.reset(::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory_) return base::fail_errno("open " + path_.string());
  return {};
}

Result<void> NewVmDirectory::claim_name() {
  if (name_.empty()) return {};
  const fs::path link = name_dir(*store_) / name_;
  for (const bool last_try : {false, true}) {
    std::error_code ec;
    fs::create_directory(name_dir(*store_), ec);
    if (::symlink(id_.c_str(), link.c_str()) == 0) {
      named_ = true;
      return {};
    }
    if (errno != EEXIST) return base::fail_errno("name the microvm " + name_);
    const std::string holder = named_id(link);
    const bool held = !holder.empty() && fs::exists(store_->vm_dir(holder), ec);
    if (held || last_try) {
      return base::fail(ErrorCode::already_exists, "the name " + name_ + " is taken by microvm " +
                                                       holder + ": remove it or choose another");
    }
    fs::remove(link, ec);  // left by a process that was killed
  }
  return {};
}

Result<WorkerFiles> NewVmDirectory::make_files(const std::string& layer) {
  const int at = directory_.get();
  // Locked before it has its name: whoever sees the file sees it locked.
  auto exit_record = create_file(at, "exit.new");
  if (!exit_record) return base::fail(exit_record.error());
  if (::flock(exit_record->get(), LOCK_EX | LOCK_NB) != 0 ||
      ::renameat(at, "exit.new", at, kExitFile) != 0) {
    return base::fail_errno("lock the microvm's directory");
  }
  return make_worker_files(path_, std::move(*exit_record), layer);
}

Result<base::Fd> lock_vm(const fs::path& vm_dir) {
  auto lock = open_lock(vm_dir);
  if (!lock) return lock;
  if (::flock(lock->get(), LOCK_EX | LOCK_NB) == 0) return lock;
  return base::fail(ErrorCode::busy, "microvm " + vm_dir.filename().string() +
                                         " is in the hands of another process");
}

Result<WorkerFiles> make_worker_files(const fs::path& vm_dir, base::Fd lock,
                                      const std::string& layer_name) {
  base::Fd directory(::open(vm_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::fail_errno("open " + vm_dir.string());
  const int at = directory.get();
  if (auto known = check_exit_known(lock.get()); !known) return base::fail(known.error());
  if (::ftruncate(lock.get(), 0) != 0) return base::fail_errno("clear the exit record");
  auto kernel_log = open_log_file(at, kKernelLogFile);
  if (!kernel_log) return base::fail(kernel_log.error());
  auto app_log = open_log_file(at, kAppLogFile);
  if (!app_log) return base::fail(app_log.error());
  auto kept_logs = make_kept_logs(vm_dir);
  if (!kept_logs) return base::fail(kept_logs.error());
  auto layer = create_file(at, layer_name.c_str());
  if (!layer) return base::fail(layer.error());
  ::unlinkat(at, kControlSocket, 0);
  auto listener = sys::listen_unix(at, kControlSocket, sys::SocketKind::seqpacket);
  if (!listener) return base::fail(listener.error());
  return WorkerFiles{.listener = std::move(*listener),
                     .exit_record = std::move(lock),
                     .kernel_log = std::move(*kernel_log),
                     .app_log = std::move(*app_log),
                     .kept_logs = std::move(*kept_logs),
                     .layer = std::move(*layer),
                     .home = std::move(directory)};
}

Result<void> NewVmDirectory::write_record(const VmRecord& record) {
  const std::string text = encode_record(record);
  const auto file = create_file(directory_.get(), "vm.json.new");
  if (!file) return base::fail(file.error());
  if (auto ok = sys::write_full(file->get(), wire::as_bytes(text)); !ok) return ok;
  if (::renameat(directory_.get(), "vm.json.new", directory_.get(), kVmRecordFile) != 0) {
    return base::fail_errno("write the microvm's record");
  }
  return {};
}

Result<void> replace_record(const fs::path& vm_dir, const VmRecord& record) {
  const base::Fd directory(::open(vm_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::fail_errno("open " + vm_dir.string());
  const std::string text = encode_record(record);
  return sys::write_file_atomic(directory.get(), kVmRecordFile, wire::as_bytes(text));
}

Result<VmRecord> read_record(const fs::path& vm_dir) {
  const auto text = read_small_file(vm_dir / kVmRecordFile, kMaxVmRecordBytes + 1);
  if (!text) return base::fail(text.error());
  return parse_record(*text, (vm_dir / kVmRecordFile).string());
}

bool is_locked(const fs::path& vm_dir) {
  const auto lock = open_lock(vm_dir);
  return lock && ::flock(lock->get(), LOCK_SH | LOCK_NB) != 0;
}

// A worker that was killed left no word: what was saved before is still there, whole.
VmPhase find_phase(const fs::path& vm_dir, bool locked_by_us) {
  const auto exit = load_exit(vm_dir);
  if (exit) {
    return exit->reason == wire::ExitEvent::Reason::suspended ? VmPhase::suspended : VmPhase::ended;
  }
  // It is kept for who can read it; to resume it here is refused with the reason.
  if (exit.error().code == ErrorCode::unsupported) return VmPhase::suspended;
  if (!locked_by_us) {
    const auto lock = open_lock(vm_dir);
    // Out of descriptors, say: then nothing is known, and it is not given up for dead.
    if (!lock && lock.error().code != ErrorCode::not_found) return VmPhase::running;
    if (lock && ::flock(lock->get(), LOCK_SH | LOCK_NB) != 0) return VmPhase::running;
  }
  const auto saved = read_saved(vm_dir);
  // One that can not be read is named by the resume that needs it.
  return !saved || *saved ? VmPhase::suspended : VmPhase::ended;
}

std::optional<wire::ExitEvent> read_exit(const fs::path& vm_dir) {
  auto exit = load_exit(vm_dir);
  return exit ? std::optional(std::move(*exit)) : std::nullopt;
}

Result<void> check_exit_known(int exit_fd) {
  const auto bytes = read_small(exit_fd, state::kMaxExitRecordBytes);
  if (!bytes) return base::fail(bytes.error());
  const auto exit = state::decode_exit_record(wire::as_bytes(*bytes));
  if (exit || exit.error().code != ErrorCode::unsupported) return {};
  return base::fail(exit.error());
}

Result<void> check_exit_known(const fs::path& vm_dir) {
  const auto record = open_lock(vm_dir);
  return record ? check_exit_known(record->get()) : Result<void>();
}

// No moment in which there is none, and nothing of a longer one is read.
Result<void> write_exit(int fd, const wire::ExitEvent& exit) {
  if (auto ok = check_exit_known(fd); !ok) return ok;
  const wire::Bytes bytes = state::encode_exit_record(exit);
  if (auto ok = sys::pwrite_full(fd, bytes, 0); !ok) return ok;
  if (::ftruncate(fd, static_cast<off_t>(bytes.size())) == 0) return {};
  return base::fail_errno("shorten the exit record");
}

void fill_state(VmInfo& info, const fs::path& vm_dir, VmPhase phase) {
  if (phase == VmPhase::running) {
    info.state = VmState::running;
    if (const auto run = read_run(vm_dir)) info.worker_pid = run->worker_pid;
    return;
  }
  info.state = phase == VmPhase::suspended ? VmState::suspended : VmState::terminated;
  const auto exit = load_exit(vm_dir);
  VmEnding reason = exit ? end_reason(*exit) : killed_reason();
  if (!exit && exit.error().code == ErrorCode::unsupported) reason.reason = exit.error().message;
  info.state_reason = reason.reason;
  if (info.state == VmState::terminated) info.end = reason.end;
}

std::optional<VmInfo> describe_vm(const Store& store, const std::string& id) {
  const fs::path dir = store.vm_dir(id);
  const auto record = read_record(dir);
  const bool is_newer = !record && record.error().code == ErrorCode::unsupported;
  if (!record && !is_newer) return std::nullopt;
  VmInfo info;
  if (record) info = to_info(*record);
  fill_state(info, dir, find_phase(dir));
  if (is_newer) {
    info.id = id;
    info.state_reason = record.error().message;
  }
  return info;
}

namespace {

// Its worker has left no word, and not all of what its guest printed either.
bool is_log_lost(const fs::path& vm_dir, const LogText& log) {
  if (read_exit(vm_dir)) return false;
  const auto run = read_run(vm_dir);
  if (!run) return !log.is_kept && log.text.empty();
  return !run->keeps_logs || !log.is_kept;
}

}  // namespace

Result<LogText> read_log(const fs::path& vm_dir, LogSource source) {
  const LogFiles files = open_logs(vm_dir);
  if (!files.kept && !files.kernel && !files.app) {
    return base::fail_errno("open the logs in " + vm_dir.string());
  }
  auto log = read_log(files, source);
  if (!log || !is_log_lost(vm_dir, *log)) return log;
  return base::fail(ErrorCode::io,
                    "the log of microvm " + vm_dir.filename().string() +
                        " is lost: its worker was killed, and had not written it yet or was of an "
                        "older version, which does that at its end");
}

Result<base::Fd> connect_control(const fs::path& vm_dir) {
  const base::Fd directory(::open(vm_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::fail_errno("open " + vm_dir.string());
  auto socket = sys::connect_unix(directory.get(), kControlSocket, sys::SocketKind::seqpacket);
  if (!socket) {
    return base::fail(ErrorCode::vm_gone,
                      "microvm " + vm_dir.filename().string() + ": its worker has ended");
  }
  if (auto ok = sys::set_nonblocking(socket->get()); !ok) return base::fail(ok.error());
  return socket;
}

Result<std::string> resolve_vm(const Store& store, const std::string& id_or_name) {
  const auto ids = store.vm_ids();
  if (!ids) return base::fail(ids.error());
  const auto exists = [&](const std::string& id) { return std::ranges::count(*ids, id) != 0; };
  if (exists(id_or_name)) return id_or_name;
  if (is_vm_name(id_or_name)) {
    std::string id = named_id(name_dir(store) / id_or_name);
    if (!id.empty() && exists(id)) return id;
  }
  std::vector<std::string> matches;
  if (!id_or_name.empty()) {
    std::ranges::copy_if(*ids, std::back_inserter(matches),
                         [&](const std::string& id) { return id.starts_with(id_or_name); });
  }
  if (matches.size() == 1) return matches[0];
  if (matches.empty()) {
    return base::fail(ErrorCode::not_found, "no microvm " + printable(id_or_name));
  }
  return base::fail(ErrorCode::invalid_argument, "microvm " + id_or_name + ": " +
                                                     std::to_string(matches.size()) +
                                                     " ids begin like this, give more of it");
}

Result<void> remove_vm(const Store& store, const std::string& id) {
  if (const auto record = read_record(store.vm_dir(id))) remove_name(store, record->name, id);
  return store.remove_vm_dir(id);
}

// On a full disk it can not be known who was first: rather twice than never.
bool claim_end(const fs::path& vm_dir) {
  const base::Fd made(::open((vm_dir / kToldFile).c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  return made || (errno != EEXIST && errno != ENOENT && errno != ENOTDIR);
}

void remove_remains(const fs::path& vm_dir) noexcept {
  std::error_code ec;
  for (const char* name :
       {kSavedFile, kRunFile, kControlSocket, wire::kNetworkFile, wire::kNetSocket}) {
    fs::remove(vm_dir / name, ec);
  }
  keep_numbered_files(vm_dir, {});
}

std::optional<UnheldVm> take_unheld(const fs::path& vm_dir) {
  UnheldVm vm;
  auto lock = lock_vm(vm_dir);
  if (lock) {
    vm.lock = std::move(*lock);
  } else if (lock.error().code != ErrorCode::not_found || is_young(vm_dir)) {
    return std::nullopt;
  }
  auto record = read_record(vm_dir);
  if (record) {
    vm.record = std::move(*record);
  } else if (record.error().code != ErrorCode::not_found &&
             record.error().code != ErrorCode::corrupt) {
    return std::nullopt;  // out of descriptors, say: nothing is known
  }
  return vm;
}

bool is_unreadable_sleeper(const UnheldVm& vm, const fs::path& vm_dir) {
  std::error_code ec;
  return !vm.record && fs::exists(vm_dir / kSavedFile, ec);
}

namespace {

// A worker that is told to end by its owner's death says so; one that slept has nobody who could.
VmEnding reason_of_dead(const fs::path& vm_dir) {
  const auto exit = read_exit(vm_dir);
  if (!exit) return killed_reason();
  if (exit->reason != wire::ExitEvent::Reason::suspended) return end_reason(*exit);
  return {VmEnd::terminated, "its owner went away"};
}

}  // namespace

// One that outlives its owner is not even locked: who resumes or ends it at this moment shall not
// find it held.
std::vector<DeadVm> collect_dead_vms(const Store& store) {
  std::vector<DeadVm> to_tell;
  const auto ids = store.vm_ids();
  if (!ids) return to_tell;
  for (const std::string& id : *ids) {
    const fs::path dir = store.vm_dir(id);
    const auto record = read_record(dir);
    if (record && !record->dies_with_owner) continue;
    if (!record && record.error().code == ErrorCode::unsupported) continue;
    const auto vm = take_unheld(dir);
    if (!vm || (vm->record && !vm->record->dies_with_owner)) continue;
    if (is_unreadable_sleeper(*vm, dir)) continue;
    if (vm->record && claim_end(dir)) to_tell.push_back({id, reason_of_dead(dir)});
    [[maybe_unused]] const auto removed = remove_vm(store, id);
  }
  return to_tell;
}

}  // namespace microvm::host
