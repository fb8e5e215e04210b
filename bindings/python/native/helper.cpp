#include "helper.hpp"

#include <cerrno>
#include <ctime>
#include <vector>

#include "process.hpp"
#include "thread.hpp"

namespace microvm::python {

namespace {

// A signal that comes just before the wait, or on another thread, is seen this late.
constexpr std::chrono::milliseconds kLook{50};

// Those that have nothing to do, of this process: a forked child has none of the threads. Never
// destroyed, as little as the threads end.
struct Pool {
  uint32_t process = 0;
  std::vector<Helper*> free;
};

Pool& pool() {
  static Pool* const pool = new Pool;
  if (pool->process != process_number()) *pool = {process_number(), {}};
  return *pool;
}

timespec from_now(std::chrono::milliseconds limit) {
  timespec when{};
  ::clock_gettime(CLOCK_MONOTONIC, &when);
  const auto nanoseconds = when.tv_nsec + std::chrono::nanoseconds(limit).count();
  when.tv_sec += static_cast<time_t>(nanoseconds / 1'000'000'000);
  when.tv_nsec = static_cast<long>(nanoseconds % 1'000'000'000);
  return when;
}

}  // namespace

void Semaphore::wait() {
  while (::sem_wait(&semaphore_) != 0 && errno == EINTR) {
  }
}

bool Semaphore::wait_for(std::chrono::milliseconds limit) {
  const timespec when = from_now(limit);
  return ::sem_clockwait(&semaphore_, CLOCK_MONOTONIC, &when) == 0;
}

Errand::News Errand::wait() {
  if (!news_.wait_for(kLook)) return News::none;
  return done_.load() ? News::done : News::question;
}

void Errand::answer() {
  (*question_.load())();
  answered_.post();
}

void Errand::ask(const Work& question) {
  const std::scoped_lock lock(asking_);
  question_.store(&question);
  news_.post();
  answered_.wait();
}

void Errand::carry_out() {
  work_();
  done_.store(true);
  news_.post();
}

Helper* Helper::take() {
  auto& free = pool().free;
  if (!free.empty()) {
    Helper* helper = free.back();
    free.pop_back();
    return helper;
  }
  auto* helper = new Helper;
  if (helper->start_thread()) return helper;
  delete helper;
  return nullptr;
}

void Helper::give_back() {
  pool().free.push_back(this);
}

bool Helper::start_thread() {
  const auto body = [](void* self) -> void* {
    static_cast<Helper*>(self)->work();
    return nullptr;
  };
  return python::start_thread("microvm-call", body, this);
}

void Helper::start(Errand& errand) {
  errand_ = &errand;
  wanted_.post();
}

void Helper::work() {
  for (;;) {
    wanted_.wait();
    errand_->carry_out();
  }
}

}  // namespace microvm::python
