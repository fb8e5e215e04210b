// Threads for file operations that may block: where there is no io_uring, a slow disk must not
// stop who waits for other things. A few: more than one, so that reads go on during a sync.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace microvm::sys {

class FileThreads {
 public:
  static constexpr size_t kThreads = 3;

  FileThreads() = default;
  FileThreads(const FileThreads&) = delete;
  FileThreads& operator=(const FileThreads&) = delete;
  // Waits for what has begun; the rest is dropped.
  ~FileThreads() { stop(); }
  void stop();

  // With all signals blocked, which are for others. As many as the system lets there be; once.
  void start();
  // In the order of their beginning; several run at a time. False: there is no thread.
  bool run(std::function<void()> work);

 private:
  void work_on();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  bool started_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace microvm::sys
