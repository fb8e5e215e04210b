#include "sys/fd_places.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace microvm::sys {

void FdPlaces::take(size_t count) {
  const std::scoped_lock lock(mutex_);
  nothing_.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
  while (nothing_ && free_.size() < count) {
    base::Fd place(::fcntl(nothing_.get(), F_DUPFD_CLOEXEC, 0));
    if (!place) return;
    free_.push_back(std::move(place));
  }
}

FdPlaces::Placed FdPlaces::put(base::Fd fd) {
  const std::scoped_lock lock(mutex_);
  if (free_.empty() || ::dup3(fd.get(), free_.back().get(), O_CLOEXEC) < 0) {
    return {nullptr, std::move(fd)};
  }
  base::Fd place = std::move(free_.back());
  free_.pop_back();
  return {this, std::move(place)};
}

// The number stays taken all the time: dup3 closes what stood there.
void FdPlaces::give_back(base::Fd place) {
  const std::scoped_lock lock(mutex_);
  if (::dup3(nothing_.get(), place.get(), O_CLOEXEC) >= 0) free_.push_back(std::move(place));
}

FdPlaces::Placed::~Placed() {
  if (home_ != nullptr) home_->give_back(std::move(fd_));
}

}  // namespace microvm::sys
