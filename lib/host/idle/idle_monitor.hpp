// Carries out the idle policies of one Runtime's Vms, on a thread of its own that exists as soon as
// there is a Vm with a policy.
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
  // Waits for the look under way.
  ~IdleMonitor();
  IdleMonitor(const IdleMonitor&) = delete;
  IdleMonitor& operator=(const IdleMonitor&) = delete;

  // Any thread. The monitor does not keep the target.
  void add(std::weak_ptr<IdleTarget> target, const IdlePolicy& policy);
  void stop();

 private:
  struct Watched {
    std::weak_ptr<IdleTarget> target;
    IdleJudge judge;
    IdleJudge::Time due;
  };
  void run();
  void look_at_due(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Watched>> watched_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace microvm::host
