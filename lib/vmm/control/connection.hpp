// One peer on the control wire. It is trusted to be ours, not to be fast or well: what it sends is
// checked, and what it does not read is dropped with it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "wire/control.hpp"

namespace microvm::vmm::control {

class Connection {
 public:
  struct Callbacks {
    std::function<void(wire::Envelope, std::vector<base::Fd>)> message;
    // The peer went away, sent what is no message at all, or reads no replies; nothing is reported
    // after it.
    std::function<void()> closed;
  };
  // `socket`: SOCK_SEQPACKET, non-blocking.
  Connection(sys::Loop& loop, base::Fd socket, Callbacks callbacks);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // In the version that the peer spoke last. What that version cannot say is no event, and an error
  // in the place of a reply.
  void send(wire::Envelope envelope, std::vector<base::Fd> fds = {});
  [[nodiscard]] bool closed() const { return closed_; }
  // The peer is gone, whether or not the loop came to see it.
  [[nodiscard]] bool peer_is_gone() const;
  [[nodiscard]] bool all_sent() const { return queue_.empty(); }
  // The peer has not received all of what was sent.
  [[nodiscard]] bool has_unread() const;
  // As if the peer went away.
  void close();

 private:
  struct Outgoing {
    wire::Bytes bytes;
    std::vector<base::Fd> fds;
  };
  void on_ready(uint32_t events);
  void receive();
  void understand(wire::Envelope envelope, std::vector<base::Fd> fds);
  void refuse(const wire::Header& header, const Error& error);
  // In the version that the envelope names.
  void put(wire::Envelope envelope, std::vector<base::Fd> fds = {});
  // False: the socket is full, or the peer is gone.
  bool send_now(const Outgoing& outgoing);
  void send_queued();

  sys::Loop& loop_;
  base::Fd socket_;
  Callbacks callbacks_;
  sys::Loop::WatchId watch_ = 0;
  uint16_t version_ = wire::kOldestControlVersion;  // which every peer understands
  std::deque<Outgoing> queue_;
  bool closed_ = false;
};

}  // namespace microvm::vmm::control
