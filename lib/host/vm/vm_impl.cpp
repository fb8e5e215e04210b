#include "host/vm/vm_impl.hpp"

#include <csignal>
#include <utility>

#include "host/vm/doorbell_keeper.hpp"
#include "host/vm/read_stream.hpp"
#include "host/vm/vm_directory.hpp"
#include "host/vm/vm_link.hpp"

namespace microvm {

using host::Limits;

namespace {

constexpr std::chrono::seconds kTerminatePatience{2};
constexpr std::chrono::seconds kLogLimit{10};
constexpr size_t kMaxLogBytes = 256 * 1024;

wire::LogsRequest::Which wire_source(LogSource source) {
  return source == LogSource::app ? wire::LogsRequest::Which::app
                                  : wire::LogsRequest::Which::kernel;
}

}  // namespace

Vm::Impl::Impl(std::shared_ptr<host::Core> shared, host::VmRecord what, ImageConfig image_config)
    : core(std::move(shared)),
      record(std::move(what)),
      config(std::move(image_config)),
      dir(core->store.vm_dir(record.id)) {}

Vm::Impl::~Impl() {
  if (client) client->close();
  if (!worker_) return;
  if (!record.dies_with_owner && !ended()) {
    worker_->let_go();
    return;
  }
  worker_->end(std::chrono::milliseconds(0));
  clean_up();
}

void Vm::Impl::connect(base::Fd control) {
  auto keeper = std::make_shared<host::DoorbellKeeper>(
      *core->reactor, host::Identity{record.hostname, record.machine_id, record.boot_id, {}});
  client =
      host::ControlClient::start(*core->reactor, std::move(control),
                                 [keeper](base::Fd stream) { keeper->answer(std::move(stream)); });
  agent.emplace(std::make_shared<host::VmLink>(client));
}

void Vm::Impl::own(host::Worker worker, base::Fd doorbell, const LaunchTimes& launch_times) {
  times = launch_times;
  doorbell_ = std::move(doorbell);
  connect(worker.take_control());
  worker_.emplace(std::move(worker));
}

void Vm::Impl::attach() {
  if (auto control = host::connect_control(dir)) connect(std::move(*control));
}

std::string Vm::Impl::end_reason() {
  const std::scoped_lock lock(mutex_);
  if (reason_) return *reason_;
  std::string killed;
  if (worker_) killed = worker_->end(kTerminatePatience);
  auto exit = client ? client->exit_event() : std::nullopt;
  if (!exit) exit = host::read_exit(dir);
  if (exit) {
    reason_ = host::describe_exit(*exit);
  } else {
    reason_ = killed.empty() ? host::kWorkerKilled : killed;
  }
  return *reason_;
}

// A worker that is not our child and does not answer. The record's process number is only believed
// while the lock shows that its worker lives.
void Vm::Impl::kill_stranger() {
  if (record.worker_pid > 1 && host::is_alive(dir)) {
    ::kill(static_cast<pid_t>(record.worker_pid), SIGKILL);
  }
}

Result<void> Vm::Impl::terminate() {
  if (client && !client->ended()) {
    const Limits limits({}, kTerminatePatience);
    // Without an answer it is killed below.
    [[maybe_unused]] const auto asked =
        client->call(wire::TerminateRequest{}, {}, limits, "terminate");
    [[maybe_unused]] const auto ended = client->wait_ended(limits, "terminate");
  }
  end_reason();
  {
    const std::scoped_lock lock(mutex_);
    if (!worker_) kill_stranger();
  }
  if (client) client->close();
  clean_up();
  return {};
}

void Vm::Impl::keep_logs() {
  kernel_log_ = host::open_log(dir, LogSource::kernel);
  app_log_ = host::open_log(dir, LogSource::app);
}

// What is left of a Vm that outlives its owner is its record and logs, until remove().
void Vm::Impl::clean_up() {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(cleaned_up_, true)) return;
  if (!record.dies_with_owner) return host::remove_disk(dir);
  keep_logs();
  const auto removed = host::remove_vm(core->store, record.id);
  // Another process may have removed it.
  if (!removed && removed.error().code != ErrorCode::not_found) {
    core->log("remove microvm " + record.id + ": " + removed.error().message);
  }
}

Result<void> Vm::Impl::remove() {
  if (auto ended = terminate(); !ended) return ended;
  const auto removed = host::remove_vm(core->store, record.id);
  if (!removed && removed.error().code != ErrorCode::not_found) return removed;
  return {};
}

VmInfo Vm::Impl::info() {
  VmInfo info = host::to_info(record);
  info.state = ended() ? VmState::terminated : VmState::running;
  if (ended()) info.state_reason = end_reason();
  return info;
}

Result<void> Vm::Impl::check_running(std::string_view what) const {
  if (client) return {};  // it may end any moment: the call then says so
  return base::fail(ErrorCode::vm_gone,
                    std::string(what) + ": microvm " + record.id + " has ended");
}

Result<std::string> Vm::Impl::read_log(LogSource source) {
  if (client && !client->ended()) {
    const Limits limits({}, kLogLimit);
    auto stream = client->call_for_stream(wire::LogsRequest{wire_source(source), false}, limits,
                                          "read the log");
    if (stream) return host::read_stream(stream->get(), kMaxLogBytes, limits, "read the log");
    if (!client->ended()) return base::fail(stream.error());
  }
  end_reason();  // the worker writes the files before it is gone
  const std::scoped_lock lock(mutex_);
  const base::Fd& kept = source == LogSource::app ? app_log_ : kernel_log_;
  return kept ? host::read_log(kept.get()) : host::read_log(dir, source);
}

}  // namespace microvm
