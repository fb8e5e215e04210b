// A few file descriptors with low numbers, kept from early on for what children are given: the
// table of a child is copied up to the highest number it needs (process.cpp), and the embedder may
// have tens of thousands of files by then.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include "base/fd.hpp"

namespace microvm::sys {

// Thread-safe.
class FdPlaces {
 public:
  FdPlaces() = default;
  FdPlaces(const FdPlaces&) = delete;
  FdPlaces& operator=(const FdPlaces&) = delete;

  // Takes so many numbers, the lowest that are free now. With fewer, or none, it goes on.
  void take(size_t count);

  // A file that stands at such a number, or where it stood if none is free. Closed when it goes,
  // which is before the places do.
  class Placed {
   public:
    Placed(FdPlaces* home, base::Fd fd) : home_(home), fd_(std::move(fd)) {}
    Placed(Placed&& other) noexcept
        : home_(std::exchange(other.home_, nullptr)), fd_(std::move(other.fd_)) {}
    Placed& operator=(Placed&&) = delete;
    ~Placed();
    [[nodiscard]] int get() const { return fd_.get(); }

   private:
    FdPlaces* home_;  // none: it goes back to nowhere
    base::Fd fd_;
  };
  [[nodiscard]] Placed put(base::Fd fd);

 private:
  void give_back(base::Fd place);

  std::mutex mutex_;
  base::Fd nothing_;  // what stands at a free place
  std::vector<base::Fd> free_;
};

}  // namespace microvm::sys
