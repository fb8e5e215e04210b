// Mutex and condition on pthread alone: the standard ones bring the exception machinery of
// libstdc++ into a program that has to stay small.
#pragma once

#include <pthread.h>

#include <mutex>

#include "agent/base/time.hpp"

namespace microvm::agent {

class Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() { pthread_mutex_lock(&mutex_); }
  void unlock() { pthread_mutex_unlock(&mutex_); }
  [[nodiscard]] pthread_mutex_t* native() { return &mutex_; }

 private:
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

using Lock = std::lock_guard<Mutex>;

class Condition {
 public:
  Condition() = default;
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  // The caller holds the mutex, and looks again at what it waits for.
  void wait(Mutex& mutex) { pthread_cond_wait(&condition_, mutex.native()); }
  void wait_until(Mutex& mutex, const Deadline& deadline) {
    const timespec at = deadline.as_timespec();
    pthread_cond_clockwait(&condition_, mutex.native(), CLOCK_MONOTONIC, &at);
  }
  void notify_all() { pthread_cond_broadcast(&condition_); }

 private:
  pthread_cond_t condition_ = PTHREAD_COND_INITIALIZER;
};

}  // namespace microvm::agent
