#include "net/flow/tcp_flows.hpp"

#include <poll.h>

#include <cerrno>
#include <vector>

namespace microvm::net {
namespace {

constexpr std::chrono::seconds kGuestHandshake{15};
constexpr size_t kLongestSyn = 2048;
constexpr const char* kAnotherName = "a request for another name";

FlowKey key_of(const Packet& packet) {
  return {packet.guest.port, packet.remote};
}

Frame refusal(const Packet& syn, int error) {
  switch (error) {
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ETIMEDOUT:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return unreachable(syn, Unreachable::host);
    default:
      return reset_of(syn);
  }
}

base::Fd open_outside(const wire::NetEndpoint& remote) {
  base::Fd socket(::socket(is_ipv4(remote) ? AF_INET : AF_INET6,
                           SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return socket;  // errno says why
  // Of a peer that went without a word we hear some day, and the flow has an end.
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  return socket;
}

// 0, EINPROGRESS, or what is wrong.
int begin_connect(const base::Fd& socket, const wire::NetEndpoint& remote) {
  const SocketAddress address = socket_address(remote);
  if (!socket) return errno != 0 ? errno : EMFILE;
  return ::connect(socket.get(), address.raw(), address.size) == 0 ? 0 : errno;
}

int connect_error(const base::Fd& socket) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

}  // namespace

TcpFlows::TcpFlows(sys::Loop& loop, space::SpaceThread& space, GuestLink& link,
                   Admission& admission, Pace& pace)
    : loop_(loop),
      link_(link),
      admission_(admission),
      pace_(pace),
      listeners_(loop, space,
                 [this](const wire::NetEndpoint& remote, const wire::NetEndpoint& guest,
                        base::Fd& socket) { return accepted(remote, guest, socket); }) {}

TcpFlows::~TcpFlows() {
  while (!opening_.empty()) forget(FlowKey(opening_.begin()->first));
}

void TcpFlows::first_packet(const Packet& syn, FrameView frame) {
  const FlowKey key = key_of(syn);
  if (const auto found = opening_.find(key); found != opening_.end()) {
    if (found->second.is_let_in) link_.let_in(frame);  // the first may have been lost
    return;
  }
  // The guest has begun anew: the kernel finds out whether the old connection still counts.
  if (const auto open = open_.find(key); open != open_.end()) {
    if (!open->second.relay->guest_is_gone()) return link_.let_in(frame);
    // The guest reset it while nothing was wanted of it: this is another flow.
    open->second.relay->reset();
    ended(key, ECONNRESET);
  }
  if (frame.size() > kLongestSyn) return;
  auto admitted = admission_.admit(wire::FlowProtocol::tcp, syn.remote);
  if (!admitted) return link_.answer(reset_of(syn));
  open(syn, frame, std::move(*admitted));
}

void TcpFlows::open(const Packet& syn, FrameView frame, Admitted admitted) {
  const FlowKey key = key_of(syn);
  Opening opening{std::move(admitted), {frame.begin(), frame.end()}, open_outside(syn.remote)};
  const int error = begin_connect(opening.outside, syn.remote);
  const int socket = opening.outside.get();
  Opening& kept = opening_.emplace(key, std::move(opening)).first->second;
  if (error == 0) return let_in(key, kept);
  if (error != EINPROGRESS) return fail(key, error);
  kept.watch = loop_.watch(socket, POLLOUT, [this, key](uint32_t) { on_connected(key); });
}

void TcpFlows::on_connected(const FlowKey& key) {
  const auto found = opening_.find(key);
  if (found == opening_.end()) return;
  Opening& opening = found->second;
  loop_.unwatch(std::exchange(opening.watch, 0));
  if (const int error = connect_error(opening.outside); error != 0) return fail(key, error);
  let_in(key, opening);
}

void TcpFlows::let_in(const FlowKey& key, Opening& opening) {
  if (!listeners_.add(key.remote)) return fail(key, EMFILE);
  opening.is_let_in = true;
  opening.timer = loop_.after(kGuestHandshake, [this, key] { forget(key); });
  link_.let_in(opening.frame);
}

void TcpFlows::fail(const FlowKey& key, int error) {
  const Admitted& flow = opening_.at(key).admitted;
  if (error == EMFILE || error == ENFILE) {
    admission_.refused_by_limit(flow, kNoMoreFiles);
  } else {
    admission_.failed(flow, error);
  }
  refuse(key, error);
}

void TcpFlows::refuse(const FlowKey& key, int error) {
  if (const auto syn = read_first_packet(opening_.at(key).frame)) {
    link_.answer(refusal(*syn, error));
  }
  forget(key);
}

void TcpFlows::forget(const FlowKey& key) {
  const auto found = opening_.find(key);
  if (found == opening_.end()) return;
  Opening opening = std::move(found->second);
  opening_.erase(found);
  if (opening.watch != 0) loop_.unwatch(opening.watch);
  if (opening.timer != 0) loop_.cancel(opening.timer);
  if (opening.is_let_in) listeners_.remove(key.remote);
}

bool TcpFlows::accepted(const wire::NetEndpoint& remote, const wire::NetEndpoint& guest,
                        base::Fd& socket) {
  const FlowKey key{guest.port, remote};
  const auto found = opening_.find(key);
  if (found == opening_.end() || !found->second.is_let_in) return false;
  if (guest != guest_endpoint(!is_ipv4(remote), guest.port)) return false;
  Opening& opening = found->second;
  Open flow{std::move(opening.admitted), {}, {}};
  base::Fd outside = std::move(opening.outside);
  forget(key);
  admission_.opened(flow.admitted);
  start_relay(key, open_.insert_or_assign(key, std::move(flow)).first->second, std::move(socket),
              std::move(outside));
  return true;
}

void TcpFlows::start_relay(const FlowKey& key, Open& flow, base::Fd guest, base::Fd outside) {
  Relay::Callbacks callbacks;
  callbacks.ended = [this, key](int error) { ended(key, error); };
  callbacks.moved = [this](FlowBytes moved) { admission_.count(moved); };
  if (flow.admitted.ruling.verdict == Ruling::Verdict::needs_name) {
    callbacks.passage = [this, key](FrameView news) { return judge_name(key, news); };
  }
  flow.relay = std::make_unique<Relay>(loop_, pipes_, pace_, std::move(guest), std::move(outside),
                                       std::move(callbacks));
}

Passage TcpFlows::judge_name(const FlowKey& key, FrameView news) {
  Open& flow = open_.at(key);
  FlowFacts& facts = flow.admitted.facts;
  const bool was_decided = facts.shown.is_decided();
  facts.shown = flow.shows.feed(std::as_bytes(news));
  if (!facts.shown.is_decided()) return {};
  if (!was_decided) static_cast<void>(admission_.judge_shown(flow.admitted));
  // What still depends on a name will never show a better one.
  if (flow.admitted.ruling.verdict != Ruling::Verdict::allow) return {.is_refused = true};
  if (flow.shows.has_others()) flow.admitted.ruling.reason = kAnotherName;
  return {.bytes = flow.shows.covered(),
          .is_free = flow.shows.covers_all(),
          .is_refused = flow.shows.has_others()};
}

void TcpFlows::ended(const FlowKey& key, int error) {
  const auto found = open_.find(key);
  if (found == open_.end()) return;
  const Open& flow = found->second;
  if (error == EACCES) admission_.refused_by_rule(flow.admitted);
  admission_.ended(flow.admitted, flow.relay->bytes());
  open_.erase(found);
}

void TcpFlows::judge_again() {
  std::vector<FlowKey> forbidden;
  for (auto& [key, opening] : opening_) {
    if (!admission_.judge_shown(opening.admitted)) forbidden.push_back(key);
  }
  for (const FlowKey& key : forbidden) {
    admission_.refused_by_rule(opening_.at(key).admitted);
    refuse(key, ECONNREFUSED);
  }
  forbidden.clear();
  for (auto& [key, flow] : open_) {
    if (!admission_.judge_again(flow.admitted)) forbidden.push_back(key);
  }
  for (const FlowKey& key : forbidden) {
    open_.at(key).relay->reset();
    ended(key, EACCES);
  }
}

}  // namespace microvm::net
