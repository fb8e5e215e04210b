// What every start of a worker uses, whoever starts it; it lives until the last of them is gone.
#pragma once

#include <memory>

#include "host/store/store.hpp"
#include "host/worker/reactor.hpp"
#include "host/worker/worker_pool.hpp"

namespace microvm::host {

struct WorkerHost {
  WorkerHost(Store opened, std::unique_ptr<Reactor> started, uint64_t most_memory_bytes)
      : store(std::move(opened)),
        reactor(std::move(started)),
        pool(std::make_unique<WorkerPool>(spawner, *reactor)),
        memory_limit_bytes(most_memory_bytes) {}
  ~WorkerHost() { stop(); }
  WorkerHost(const WorkerHost&) = delete;
  WorkerHost& operator=(const WorkerHost&) = delete;

  Store store;
  std::unique_ptr<Reactor> reactor;
  std::shared_ptr<WorkerSpawner> spawner =
      std::make_shared<WorkerSpawner>(store.data_dir().string());
  std::unique_ptr<WorkerPool> pool;
  const uint64_t memory_limit_bytes;  // 0: none

 protected:
  // The filling of the pool, which uses the reactor; then the reactor, whose work may use the rest.
  void stop() {
    pool->stop();
    reactor.reset();
  }
};

}  // namespace microvm::host
