// The socket in the Vm's directory by which libraries reach microvm-net: setups that changed,
// counters, and the log of flows. They are of the same user, or root; what they send is checked.
#pragma once

#include <functional>
#include <list>

#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "wire/net.hpp"

namespace microvm::net {

class Management {
 public:
  struct Callbacks {
    std::function<Result<void>(wire::NetworkSetup setup)> setup_changed;
    std::function<wire::NetStatus()> status;
    // Whether anybody follows the log.
    std::function<void(bool followed)> log_followed;
  };
  Management(sys::Loop& loop, Callbacks callbacks)
      : loop_(loop), callbacks_(std::move(callbacks)) {}
  ~Management();
  Management(const Management&) = delete;
  Management& operator=(const Management&) = delete;

  // Makes the socket; one that was left there by an earlier process is replaced.
  Result<void> listen(int home);
  // To all that follow the log.
  void tell(wire::FlowRecord record);

 private:
  struct Client {
    base::Fd socket;
    sys::Loop::WatchId watch = 0;
    bool follows = false;
    uint64_t lost = 0;  // records that it had no room for
  };
  using Clients = std::list<Client>;

  void accept_all();
  void receive(Clients::iterator client);
  wire::NetMessage answer(Client& client, const wire::NetMessage& request,
                          const std::vector<base::Fd>& fds);
  wire::NetMessage change_setup(const std::vector<base::Fd>& fds);
  void drop(Clients::iterator client);
  void tell_whether_followed();

  sys::Loop& loop_;
  Callbacks callbacks_;
  base::Fd listener_;
  sys::Loop::WatchId watch_ = 0;
  Clients clients_;
  bool is_followed_ = false;
};

}  // namespace microvm::net
