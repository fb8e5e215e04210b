// The worker's end of the net wire. It runs foreign code, and may send anything.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "wire/net.hpp"

namespace microvm::net {

class WorkerLink {
 public:
  struct Callbacks {
    std::function<void(std::span<const uint8_t> frame)> first_packet;
    std::function<void()> gone;
  };
  // A connected SOCK_SEQPACKET.
  WorkerLink(sys::Loop& loop, base::Fd socket, Callbacks callbacks);
  ~WorkerLink() { loop_.unwatch(watch_); }
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;

  // Never waits: what the worker does not take now is sent later, in order. False: it is gone.
  bool send(const wire::NetMessage& message, std::span<const int> fds = {});

 private:
  void receive();
  void send_rest();
  void understand(std::span<const std::byte> bytes);

  sys::Loop& loop_;
  base::Fd socket_;
  Callbacks callbacks_;
  // The longest message; what is never filled takes no memory.
  std::unique_ptr<std::byte[]> buffer_;
  sys::Loop::WatchId watch_ = 0;
  std::deque<wire::Bytes> unsent_;  // pairs that come and go
};

}  // namespace microvm::net
