// What every start of a worker uses, whoever starts it; it lives until the last of them is gone.
#pragma once

#include <memory>

#include "host/store/store.hpp"
#include "host/worker/reactor.hpp"
#include "host/worker/worker.hpp"

namespace microvm::host {

struct WorkerHost {
  WorkerHost(Store opened, std::unique_ptr<Reactor> started, uint64_t most_memory_bytes)
      : store(std::move(opened)),
        reactor(std::move(started)),
        pool(std::make_shared<WorkerPool>(spawner, *reactor)),
        memory_limit_bytes(most_memory_bytes) {}
  // The reactor first: work it still runs may use the rest.
  ~WorkerHost() { stop(); }
  WorkerHost(const WorkerHost&) = delete;
  WorkerHost& operator=(const WorkerHost&) = delete;

  Store store;
  std::unique_ptr<Reactor> reactor;
  std::shared_ptr<WorkerSpawner> spawner = std::make_shared<WorkerSpawner>();
  std::shared_ptr<WorkerPool> pool;
  const uint64_t memory_limit_bytes;  // 0: none

 protected:
  void stop() { reactor.reset(); }
};

}  // namespace microvm::host
