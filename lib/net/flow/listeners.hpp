// Listeners in the private network, each for the flows that wait for their guest's packets at one
// destination. Whoever else comes to it, by packets that a bad worker made, is reset.
#pragma once

#include <functional>
#include <optional>
#include <unordered_map>

#include "net/flow/address.hpp"
#include "net/space/space_thread.hpp"
#include "sys/loop.hpp"

namespace microvm::net {

// Closes a connection with a reset, if it still is one.
void reset_connection(base::Fd socket);

class Listeners {
 public:
  // True: it was waited for, and is taken.
  using Accepted = std::function<bool(const wire::NetEndpoint& remote,
                                      const wire::NetEndpoint& guest, base::Fd& socket)>;
  Listeners(sys::Loop& loop, space::SpaceThread& space, Accepted accepted)
      : loop_(loop), space_(space), accepted_(std::move(accepted)) {}
  ~Listeners();
  Listeners(const Listeners&) = delete;
  Listeners& operator=(const Listeners&) = delete;

  // One flow more, or less, waits there.
  Result<void> add(const wire::NetEndpoint& remote);
  void remove(const wire::NetEndpoint& remote);

 private:
  struct Listener {
    base::Fd socket;
    sys::Loop::WatchId watch = 0;
    size_t waiting = 0;
    std::optional<sys::Loop::TimerId> rest;  // until it is tried again: there were no descriptors
  };
  Result<base::Fd> listen(const wire::NetEndpoint& remote);
  void accept_all(const wire::NetEndpoint& remote);
  void rest(const wire::NetEndpoint& remote, Listener& listener);

  sys::Loop& loop_;
  space::SpaceThread& space_;
  Accepted accepted_;
  std::unordered_map<wire::NetEndpoint, Listener, EndpointHash> listeners_;
};

}  // namespace microvm::net
