// What the Runtime and its Vms share; it lives until the last of them is gone.
#pragma once

#include <memory>

#include "host/idle/idle_monitor.hpp"
#include "host/store/store.hpp"
#include "host/vm/owned_vms.hpp"
#include "host/vm/reactor.hpp"
#include "host/vm/waiting_calls.hpp"
#include "host/vm/worker.hpp"
#include "microvm/runtime.hpp"

namespace microvm::host {

// Where data goes when the embedder names no directory: see RuntimeOptions.
Result<std::filesystem::path> default_data_dir();

struct Core {
  static Result<std::shared_ptr<Core>> open(const RuntimeOptions& options);

  void log(std::string_view line) const {
    if (log_sink) log_sink(line);
  }

  // Tells the embedder and events.jsonl; the time is filled in.
  void emit(VmEvent event) const;

  Core(Store opened, std::unique_ptr<Reactor> started, uint32_t max_waiting_calls)
      : store(std::move(opened)), waiting_calls(max_waiting_calls), reactor(std::move(started)) {}

  Store store;
  std::shared_ptr<WorkerSpawner> spawner = std::make_shared<WorkerSpawner>();
  std::shared_ptr<WorkerPool> pool;
  uint32_t pool_size = 0;
  uint64_t memory_limit_bytes = 0;
  WaitingCalls waiting_calls;
  std::function<void(std::string_view)> log_sink;
  OwnedVms owned;
  IdleMonitor idle_monitor;
  std::function<void(const VmEvent&)> event_sink;
  // Last, so first to go: work it still runs may use the rest.
  std::unique_ptr<Reactor> reactor;
};

}  // namespace microvm::host
