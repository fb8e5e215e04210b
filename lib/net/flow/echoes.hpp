// ICMP echo, by the sockets that the host lets users ping with (net.ipv4.ping_group_range). The
// kernel answers nothing inside; the answers from outside go to the guest as frames of ours.
#pragma once

#include "base/fd.hpp"
#include "net/flow/admission.hpp"
#include "net/flow/guest_link.hpp"
#include "net/flow/idle_table.hpp"
#include "net/flow/pace.hpp"
#include "sys/loop.hpp"

namespace microvm::net {

class Echoes {
 public:
  Echoes(sys::Loop& loop, GuestLink& link, Admission& admission, Pace& pace)
      : loop_(loop), link_(link), admission_(admission), pace_(pace) {}
  ~Echoes();
  Echoes(const Echoes&) = delete;
  Echoes& operator=(const Echoes&) = delete;

  void request(const Packet& packet);
  void judge_again();

 private:
  struct Echo {
    Admitted admitted;
    base::Fd socket;
    sys::Loop::WatchId watch = 0;
    FlowBytes bytes;
  };

  Echo* open(const Packet& packet);
  void answer(const FlowKey& key);
  void forget(const FlowKey& key);
  void sweep_later();

  sys::Loop& loop_;
  GuestLink& link_;
  Admission& admission_;
  Pace& pace_;
  IdleTable<Echo> echoes_;
  sys::Loop::TimerId timer_ = 0;  // 0: none
};

}  // namespace microvm::net
