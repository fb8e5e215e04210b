// Carries out the idle policies of one Runtime's Vms, on threads of its own. There are none before
// the first Vm with a policy; from then on one waits while others look, so that a guest that is
// slow to answer delays nobody else's turn. They stay until stop().
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host/idle/idle_judge.hpp"

namespace microvm::host {

// What the monitor does with a Vm; a Vm that is gone gives no target any more.
class IdleTarget {
 public:
  virtual ~IdleTarget() = default;
  virtual IdleJudge::Sight look() = 0;
  virtual void act(IdleAction action) = 0;
};

class IdleMonitor {
 public:
  IdleMonitor() = default;
  // Waits for the looks under way.
  ~IdleMonitor();
  IdleMonitor(const IdleMonitor&) = delete;
  IdleMonitor& operator=(const IdleMonitor&) = delete;

  // Any thread. The monitor does not keep the target. Error: out_of_memory (no thread to look).
  Result<void> add(std::weak_ptr<IdleTarget> target, const IdlePolicy& policy);
  void stop();

 private:
  struct Watched {
    std::weak_ptr<IdleTarget> target;
    IdleJudge judge;
    IdleJudge::Time due;
    bool in_work = false;  // by one of the threads
  };
  using Lock = std::unique_lock<std::mutex>;

  void run();
  [[nodiscard]] std::shared_ptr<Watched> next_due() const;
  void work(const std::shared_ptr<Watched>& watched, Lock& lock);
  Result<void> add_thread();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Watched>> watched_;
  bool stopped_ = false;
  size_t working_ = 0;  // of the threads
  std::vector<std::thread> threads_;
};

}  // namespace microvm::host
