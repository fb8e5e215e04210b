// A loop that passes everything on to a real one, for tests that look at or change some of it.
#pragma once

#include <memory>
#include <utility>

#include "sys/loop.hpp"

namespace microvm::test {

class ForwardingLoop : public sys::Loop {
 public:
  explicit ForwardingLoop(std::unique_ptr<sys::Loop> inner) : inner_(std::move(inner)) {}

  WatchId watch(int fd, uint32_t events, FdHandler handler) override {
    return inner_->watch(fd, events, std::move(handler));
  }
  void rearm(WatchId id, uint32_t events) override { inner_->rearm(id, events); }
  void unwatch(WatchId id) override { inner_->unwatch(id); }
  WatchId watch_counter(int eventfd, CountHandler handler) override {
    return inner_->watch_counter(eventfd, std::move(handler));
  }
  void raise(int eventfd) override { inner_->raise(eventfd); }
  void flush_raised() override { inner_->flush_raised(); }
  void read_file(int fd, std::span<const iovec> buffers, uint64_t offset, IoHandler done) override {
    inner_->read_file(fd, buffers, offset, std::move(done));
  }
  void write_file(int fd, std::span<const iovec> buffers, uint64_t offset,
                  IoHandler done) override {
    inner_->write_file(fd, buffers, offset, std::move(done));
  }
  void sync_file(int fd, IoHandler done) override { inner_->sync_file(fd, std::move(done)); }
  [[nodiscard]] size_t io_in_flight() const override { return inner_->io_in_flight(); }
  TimerId after(std::chrono::nanoseconds delay, std::function<void()> fire) override {
    return inner_->after(delay, std::move(fire));
  }
  void cancel(TimerId id) override { inner_->cancel(id); }
  void post(std::function<void()> work) override { inner_->post(std::move(work)); }
  void run() override { inner_->run(); }
  void run_once(std::chrono::milliseconds limit) override { inner_->run_once(limit); }
  void stop() override { inner_->stop(); }
  [[nodiscard]] Backend backend() const override { return inner_->backend(); }

 private:
  std::unique_ptr<sys::Loop> inner_;
};

}  // namespace microvm::test
