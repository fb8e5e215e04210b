// The thread that carries out what Python's main thread calls.
//
// Python runs signal handlers on its main thread, between instructions, so Ctrl-C would not be seen
// as long as that thread is in the library. Instead it waits outside of it, for the end of the call
// or for a signal, and holds no lock of the library while a handler runs: the handler may call
// anything, also on the same object. One helper serves all calls of the main thread; more are made
// only when a handler calls while another call waits. What it costs is two wake-ups, 3 to 6 us.
#pragma once

#include <semaphore.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>

namespace microvm::python {

class Semaphore {
 public:
  Semaphore() { ::sem_init(&semaphore_, 0, 0); }
  ~Semaphore() { ::sem_destroy(&semaphore_); }
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  void post() { ::sem_post(&semaphore_); }
  void wait();
  // False: a signal came, or the time is over.
  bool wait_for(std::chrono::milliseconds limit);

 private:
  sem_t semaphore_;
};

// One call on its way, seen from both threads.
class Errand {
 public:
  using Work = std::function<void()>;
  enum class News { done, question, none };

  explicit Errand(const Work& work) : work_(work) {}

  // The caller: until it is done, somebody asks, a signal came or a moment has passed.
  News wait();
  void answer();  // carries out what is asked

  // The helper, or another thread of the library that works for it: has the caller carry out
  // `question` and waits for that. One at a time.
  void ask(const Work& question);

 private:
  friend class Helper;
  void carry_out();

  const Work& work_;
  Semaphore news_;
  std::atomic<bool> done_{false};
  std::mutex asking_;
  std::atomic<const Work*> question_{nullptr};
  Semaphore answered_;
};

class Helper {
 public:
  // One that is free, or a new one; nullptr: no thread can be made. With the GIL.
  static Helper* take();
  // The errand it had is done. With the GIL.
  void give_back();

  void start(Errand& errand);

 private:
  Helper() = default;
  bool start_thread();
  void work();

  Semaphore wanted_;
  Errand* errand_ = nullptr;
};

}  // namespace microvm::python
