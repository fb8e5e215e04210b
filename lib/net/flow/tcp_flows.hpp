// TCP: a SYN of the guest is judged, then the destination connected outside, and only then let in,
// where a listener waits for it. So what is refused or unreachable outside is that for the guest,
// and nothing is accepted and dropped.
#pragma once

#include <memory>
#include <unordered_map>

#include "net/flow/address.hpp"
#include "net/flow/admission.hpp"
#include "net/flow/guest_link.hpp"
#include "net/flow/listeners.hpp"
#include "net/flow/relay.hpp"
#include "net/names/flow_name.hpp"

namespace microvm::net {

class TcpFlows {
 public:
  TcpFlows(sys::Loop& loop, space::SpaceThread& space, GuestLink& link, Admission& admission,
           Pace& pace);
  ~TcpFlows();
  TcpFlows(const TcpFlows&) = delete;
  TcpFlows& operator=(const TcpFlows&) = delete;

  // `frame`: the SYN, which `syn` was read from.
  void first_packet(const Packet& syn, FrameView frame);
  // Ends what the policy forbids now.
  void judge_again();

 private:
  // Until the guest has its connection.
  struct Opening {
    Admitted admitted;
    std::vector<uint8_t> frame;
    base::Fd outside;
    sys::Loop::WatchId watch = 0;  // of `outside`, until it is connected
    sys::Loop::TimerId timer = 0;  // of the guest's handshake, from then on
    bool is_let_in = false;        // the listener waits for it
  };
  struct Open {
    Admitted admitted;
    FlowName shows;
    std::unique_ptr<Relay> relay;
  };
  using Openings = std::unordered_map<FlowKey, Opening, EndpointHash>;
  using Opens = std::unordered_map<FlowKey, Open, EndpointHash>;

  void open(const Packet& syn, FrameView frame, Admitted admitted);
  void on_connected(const FlowKey& key);
  void let_in(const FlowKey& key, Opening& opening);
  void fail(const FlowKey& key, int error);
  void refuse(const FlowKey& key, int error);
  void forget(const FlowKey& key);
  bool accepted(const wire::NetEndpoint& remote, const wire::NetEndpoint& guest, base::Fd& socket);
  void start_relay(const FlowKey& key, Open& flow, base::Fd guest, base::Fd outside);
  Passage judge_name(const FlowKey& key, FrameView news);
  void ended(const FlowKey& key, int error);

  sys::Loop& loop_;
  GuestLink& link_;
  Admission& admission_;
  Pace& pace_;
  PipeStock pipes_;
  Openings opening_;
  Opens open_;
  Listeners listeners_;
};

}  // namespace microvm::net
