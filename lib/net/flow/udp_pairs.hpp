// UDP: two connected sockets for each pair of a guest's port and a destination, one inside and one
// outside. The worker is told which pairs there are, and puts their packets into the tap itself.
#pragma once

#include <functional>
#include <memory>

#include "net/flow/admission.hpp"
#include "net/flow/guest_link.hpp"
#include "net/flow/idle_table.hpp"
#include "net/flow/pace.hpp"
#include "net/space/space_thread.hpp"
#include "sys/loop.hpp"

namespace microvm::net {

class UdpPairs {
 public:
  using Tell = std::function<void(const wire::UdpPair& pair)>;
  UdpPairs(sys::Loop& loop, space::SpaceThread& space, GuestLink& link, Admission& admission,
           Pace& pace, Tell tell);
  ~UdpPairs();
  UdpPairs(const UdpPairs&) = delete;
  UdpPairs& operator=(const UdpPairs&) = delete;

  void first_packet(const Packet& packet, FrameView frame);
  // Ends what the policy forbids now.
  void judge_again();

 private:
  struct Side {
    base::Fd socket;
    sys::Loop::WatchId watch = 0;
  };
  struct Pair {
    Admitted admitted;
    Side inside;
    Side outside;
    FlowBytes bytes;
  };

  void make_room();
  void open(const Packet& packet, FrameView frame, Admitted admitted);
  void refuse(const Packet& packet, const Admitted& admitted, int error);
  Result<base::Fd> open_inside(const Packet& packet);
  void from_guest(const FlowKey& key);
  void to_guest(const FlowKey& key);
  void forget(const FlowKey& key);
  void sweep();
  void sweep_later();

  sys::Loop& loop_;
  space::SpaceThread& space_;
  GuestLink& link_;
  Admission& admission_;
  Pace& pace_;
  Tell tell_;
  IdleTable<Pair> pairs_;
  std::unique_ptr<std::byte[]> buffer_;  // one datagram
  sys::Loop::TimerId timer_ = 0;         // 0: none
};

}  // namespace microvm::net
