// Which lock guards what, said in the code and checked by clang (test/lint/run, "locks"); other
// compilers see nothing of it. Names and meaning are clang's: "Thread Safety Analysis".
#pragma once

#include <mutex>

#if defined(__clang__)
#define MICROVM_THREAD_ATTRIBUTE(attribute) __attribute__((attribute))
#else
#define MICROVM_THREAD_ATTRIBUTE(attribute)
#endif

// Of a data member: only for who holds the lock.
#define MICROVM_GUARDED_BY(mutex) MICROVM_THREAD_ATTRIBUTE(guarded_by(mutex))
// Of a function: its caller holds the lock, or must not hold it.
#define MICROVM_REQUIRES(...) MICROVM_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define MICROVM_EXCLUDES(...) MICROVM_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))

namespace microvm::base {

// std::mutex, which clang knows nothing of where the library is GNU's.
class MICROVM_THREAD_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

// Held from here to the end of the scope.
class MICROVM_THREAD_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) MICROVM_THREAD_ATTRIBUTE(acquire_capability(mutex))
      : lock_(mutex.mutex_) {}
  ~MutexLock() MICROVM_THREAD_ATTRIBUTE(release_capability()) = default;
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  // For std::condition_variable, whose waits let go of it in between: what was read before one is
  // to be read again.
  [[nodiscard]] std::unique_lock<std::mutex>& native() { return lock_; }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace microvm::base
