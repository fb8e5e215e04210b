// What the Runtime and its Vms share; it lives until the last of them is gone.
#pragma once

#include <atomic>
#include <memory>

#include "host/base/home_process.hpp"
#include "host/base/start_trace.hpp"
#include "host/idle/idle_monitor.hpp"
#include "host/vm/errands.hpp"
#include "host/vm/owned_vms.hpp"
#include "host/vm/vm_starts.hpp"
#include "host/vm/waiting_calls.hpp"
#include "host/worker/directory_watches.hpp"
#include "host/worker/worker_host.hpp"
#include "microvm/runtime.hpp"

namespace microvm::host {

// Where data goes when the embedder names no directory: see RuntimeOptions.
Result<std::filesystem::path> default_data_dir();

struct Core : WorkerHost {
  static Result<std::shared_ptr<Core>> open(const RuntimeOptions& options, const Limits& limits);

  Core(Store opened, std::unique_ptr<Reactor> started, const RuntimeOptions& options)
      : WorkerHost(std::move(opened), std::move(started), options.memory_limit_bytes),
        pool_size(options.pool_size),
        waiting_calls(options.max_waiting_calls),
        log_sink(options.log),
        event_sink(options.on_event) {
    pool->on_trouble([this](const Error& error) { log(error.message); });
  }
  ~Core() { stop(); }

  void log(std::string_view line) const {
    if (log_sink) log_sink(line);
  }

  // Of one that begins now; none when nobody wants to see it.
  [[nodiscard]] std::shared_ptr<StartTrace> trace_start(std::string what) const {
    return trace_file ? std::make_shared<StartTrace>(trace_file, std::move(what)) : nullptr;
  }

  // Tells the embedder and events.jsonl; the time is filled in.
  void emit(VmEvent event) const;

  // The end of the Runtime. Not from one of its threads.
  void end() {
    stop_work();
    owned.clear();
    watches.end_of_runtime();  // who follows the events hears of those ends too
  }
  // Waits for what its threads are at, all of which hold the Core.
  void stop_work() {
    starts.stop();
    idle_monitor.stop();
    wakes.stop();
    looks.stop();
    errands.stop();
  }

  const HomeProcess home;
  const uint32_t pool_size;
  WaitingCalls waiting_calls;
  std::atomic<bool> has_user_network{false};  // it was tried, and can be had
  const std::function<void(std::string_view)> log_sink;
  std::shared_ptr<TraceFile> trace_file;  // none: nobody has asked for it
  DirectoryWatches watches{*reactor};
  OwnedVms owned;
  VmStarts starts{owned};
  IdleMonitor idle_monitor;
  Errands errands;
  // Of their own: a guest that is slow to wake holds a thread for as long as its wake may take, and
  // no other's end or connect waits behind it.
  static constexpr size_t kMaxWakes = 64;
  Errands wakes{kMaxWakes};
  // What streams have a moment's wait for: a guest may have a thousand end at once.
  Errands looks;
  const std::function<void(const VmEvent&)> event_sink;
};

}  // namespace microvm::host
