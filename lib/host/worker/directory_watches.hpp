// Who waits for something to change in a directory of the host. A user may have few inotify
// instances (128): a Runtime has one, on its reactor, however many wait.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "host/worker/reactor.hpp"
#include "sys/event_fd.hpp"

namespace microvm::host {

// Thread-safe.
class DirectoryWatches {
 public:
  // In any case everybody is woken as often: not all file systems tell, and the host may have no
  // instance to give.
  static constexpr std::chrono::milliseconds kInAnyCase{2000};
  static constexpr std::chrono::milliseconds kUntold{100};

  // The reactor must outlive this.
  explicit DirectoryWatches(Reactor& reactor);
  // Those who wait wait in vain from here on.
  ~DirectoryWatches();
  DirectoryWatches(const DirectoryWatches&) = delete;
  DirectoryWatches& operator=(const DirectoryWatches&) = delete;

  struct Hub;
  enum class Lasts : uint8_t { as_wanted, as_the_runtime };
  // Ends with its destruction. It may outlive the watches.
  class Watch {
   public:
    Watch(std::shared_ptr<Hub> hub, std::string prefix, std::shared_ptr<const sys::EventFd> seen,
          Lasts lasts);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    // Of one that lasts as the Runtime: that has ended.
    [[nodiscard]] bool is_over() const { return over_; }

   private:
    friend struct Hub;
    const std::shared_ptr<Hub> hub_;
    const std::string prefix_;
    const std::shared_ptr<const sys::EventFd> seen_;
    const Lasts lasts_;
    int directory_ = kUnwatched;  // the hub's
    std::atomic<bool> over_{false};
  };
  // Raises `seen` when a file whose name begins with `prefix` was made, written, renamed or removed
  // in the directory, or the directory itself was, and now and then for nothing. A change from here
  // on is told: look once more now.
  std::unique_ptr<Watch> watch(const std::filesystem::path& directory, std::string prefix,
                               std::shared_ptr<const sys::EventFd> seen,
                               Lasts lasts = Lasts::as_wanted);
  // The Runtime ends; new ones that last as long are over from the beginning.
  void end_of_runtime();

 private:
  static constexpr int kUnwatched = -1;
  const std::shared_ptr<Hub> hub_;
  Reactor& reactor_;
};

}  // namespace microvm::host
