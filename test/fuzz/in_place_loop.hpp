// A loop that does what is asked of files at once, on the thread that asks: a run of a target makes
// no thread work and waits for none. The handler is still called from the loop and not before.
#pragma once

#include <cerrno>

#include "vmm/disk/forwarding_loop.hpp"

namespace microvm::test {

class InPlaceLoop final : public ForwardingLoop {
 public:
  InPlaceLoop() : ForwardingLoop(std::move(*sys::Loop::create(sys::Loop::Backend::plain))) {}

  void read_file(int fd, std::span<const iovec> buffers, uint64_t offset, IoHandler done) override {
    const auto count = static_cast<int>(buffers.size());
    report(::preadv(fd, buffers.data(), count, static_cast<off_t>(offset)), std::move(done));
  }
  void write_file(int fd, std::span<const iovec> buffers, uint64_t offset,
                  IoHandler done) override {
    const auto count = static_cast<int>(buffers.size());
    report(::pwritev(fd, buffers.data(), count, static_cast<off_t>(offset)), std::move(done));
  }
  // Its files are in memory.
  void sync_file(int, IoHandler done) override { report(0, std::move(done)); }
  [[nodiscard]] size_t io_in_flight() const override { return in_flight_; }

 private:
  void report(ssize_t result, IoHandler done) {
    const int64_t told = result < 0 ? -errno : result;
    ++in_flight_;
    post([this, told, done = std::move(done)] {
      --in_flight_;
      if (done) done(told);
    });
  }

  size_t in_flight_ = 0;
};

}  // namespace microvm::test
