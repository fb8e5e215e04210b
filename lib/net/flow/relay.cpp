#include "net/flow/relay.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "net/flow/listeners.hpp"

namespace microvm::net {
namespace {

constexpr uint64_t kChunkBytes = 256 * 1024;
constexpr int kChunksPerTurn = 4;  // others are to have theirs
constexpr size_t kMostFirstBytes = 16 * 1024;
constexpr unsigned kSplice = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;

int error_of(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

void set_option(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof value);
}

// Nothing comes any more behind what is there.
bool has_ended(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
         info.tcpi_state != TCP_ESTABLISHED;
}

// An urgent byte is there that was not read: what is looked at ends before it.
bool has_urgent_byte(int socket) {
  pollfd asked{socket, POLLPRI, 0};
  const timespec at_once{};
  return ::ppoll(&asked, 1, &at_once, nullptr) == 1 && (asked.revents & POLLPRI) != 0;
}

}  // namespace

Relay::Relay(sys::Loop& loop, PipeStock& pipes, Pace& pace, base::Fd guest, base::Fd outside,
             Callbacks callbacks)
    : loop_(loop),
      pipes_(pipes),
      pace_(pace),
      callbacks_(std::move(callbacks)),
      guest_{std::move(guest)},
      outside_{std::move(outside)} {
  // What is put together to packets was so by who sent it.
  for (Side* side : {&guest_, &outside_}) {
    set_option(side->socket.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    // Urgent bytes in their place: what is looked at is then what goes out.
    set_option(side->socket.get(), SOL_SOCKET, SO_OOBINLINE, 1);
    side->watch = loop_.watch(side->socket.get(), POLLIN,
                              [this, side](uint32_t events) { on_events(*side, events); });
  }
}

Relay::~Relay() {
  for (const Side* side : {&guest_, &outside_}) loop_.unwatch(side->watch);
  for (Direction* direction : {&from_guest_, &to_guest_}) {
    if (direction->pace_waiter != 0) pace_.cancel(direction->pace_waiter);
    if (direction->pipe.in && direction->in_pipe == 0) pipes_.give_back(std::move(direction->pipe));
  }
}

void Relay::reset() {
  for (const Side* side : {&guest_, &outside_}) {
    const linger now{1, 0};
    ::setsockopt(side->socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
}

void Relay::on_events(Side& side, uint32_t events) {
  if ((events & (POLLERR | POLLHUP)) != 0) {
    if (const int error = error_of(side.socket.get()); error != 0) return finish(error);
  }
  guest_has_news_ = &side == &guest_ && (events & POLLIN) != 0;
  (&side == &guest_ ? from_guest_ : to_guest_).reported = (events & POLLIN) != 0;
  step();
}

void Relay::step() {
  for (Direction* direction : {&from_guest_, &to_guest_}) {
    if (const int error = pump(*direction); error != 0) return finish(error);
  }
  if (from_guest_.done && to_guest_.done) return finish(0);
  watch_again();
}

int Relay::pump(Direction& direction) {
  for (int chunk = 0; chunk < kChunksPerTurn && !direction.done; ++chunk) {
    if (direction.in_pipe == 0) {
      if (const int error = fill(direction); error != 0) return error;
    }
    if (direction.in_pipe == 0) break;
    if (const int error = drain(direction); error != 0) return error;
    if (direction.in_pipe != 0) break;
  }
  if (direction.in_pipe == 0 && direction.pipe.in) pipes_.give_back(std::move(direction.pipe));
  return 0;
}

// Into the pipe, which is empty.
int Relay::fill(Direction& direction) {
  if (direction.pace_waiter != 0) return 0;
  const uint64_t most = &direction == &from_guest_ ? may_pass() : kChunkBytes;
  if (most == 0) return passage_.is_refused ? EACCES : 0;
  const uint64_t allowed = pace_.allowed();
  if (allowed == 0) {
    wait_for_pace(direction);
    return 0;
  }
  if (!direction.pipe.in) direction.pipe = pipes_.take();
  if (!direction.pipe.in) return EMFILE;
  const ssize_t got = ::splice(direction.from.socket.get(), nullptr, direction.pipe.in.get(),
                               nullptr, std::min(allowed, most), kSplice);
  if (got < 0 && errno != EAGAIN && errno != EINTR) return errno;
  direction.in_pipe = got > 0 ? static_cast<size_t>(got) : take_urgent_byte(direction);
  direction.reported = false;
  if (got < 0 || direction.in_pipe != 0) return 0;
  direction.done = true;
  // One that is gone already is seen by its own events.
  ::shutdown(direction.to.socket.get(), SHUT_WR);
  return 0;
}

// splice() finds nothing before an urgent byte, though the socket is readable.
size_t Relay::take_urgent_byte(Direction& direction) {
  char byte = 0;
  if (!direction.reported) return 0;
  if (::recv(direction.from.socket.get(), &byte, 1, MSG_DONTWAIT) != 1) return 0;
  return ::write(direction.pipe.in.get(), &byte, 1) == 1 ? 1 : 0;
}

int Relay::drain(Direction& direction) {
  while (direction.in_pipe != 0) {
    const ssize_t put = ::splice(direction.pipe.out.get(), nullptr, direction.to.socket.get(),
                                 nullptr, direction.in_pipe, kSplice);
    if (put < 0) return errno == EAGAIN || errno == EINTR ? 0 : errno;
    const auto moved = static_cast<size_t>(put);
    direction.in_pipe -= moved;
    direction.bytes += moved;
    pace_.spend(moved);
    callbacks_.moved(&direction == &from_guest_ ? FlowBytes{moved, 0} : FlowBytes{0, moved});
  }
  return 0;
}

void Relay::wait_for_pace(Direction& direction) {
  direction.pace_waiter = pace_.wait([this, &direction] {
    direction.pace_waiter = 0;
    step();
  });
}

// How many bytes of the guest's next may go out now. What may not stays in its socket, and is only
// looked at.
uint64_t Relay::may_pass() {
  if (callbacks_.passage && guest_has_news_ && passage_.bytes == from_guest_.bytes) look();
  if (!callbacks_.passage) return kChunkBytes;
  return std::min(passage_.bytes - from_guest_.bytes, kChunkBytes);
}

// The next look is due when there is more than now (SO_RCVLOWAT).
void Relay::look() {
  guest_has_news_ = false;
  std::vector<uint8_t> bytes(kMostFirstBytes);
  const int socket = guest_.socket.get();
  const ssize_t got = ::recv(socket, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) return;
  const auto known = static_cast<size_t>(looked_at_ - from_guest_.bytes);
  // An urgent byte that came later, among those that were seen, ends what can be looked at.
  if (static_cast<size_t>(got) < known) {
    passage_.is_refused = true;
    return;
  }
  const FrameView news = FrameView(bytes).first(static_cast<size_t>(got)).subspan(known);
  if (!news.empty()) passage_ = callbacks_.passage(news);
  looked_at_ += news.size();
  // The end, with nothing before it, may go out; what was begun and not finished may not.
  const bool is_end = news.empty() && has_ended(socket);
  if (is_end && known == 0) passage_.is_free = true;
  const bool is_stuck =
      static_cast<size_t>(got) == bytes.size() && passage_.bytes == from_guest_.bytes;
  if ((is_end && known != 0) || is_stuck) passage_.is_refused = true;
  // It would be reported as readable for ever, and never be seen.
  if (news.empty() && !is_end && has_urgent_byte(socket)) passage_.is_refused = true;
  if (passage_.is_free) callbacks_.passage = nullptr;
  const uint64_t left = passage_.is_free ? 0 : looked_at_ - passage_.bytes;
  set_option(socket, SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(left + 1));
}

bool Relay::guest_is_gone() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(guest_.socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
         info.tcpi_state == TCP_CLOSE;
}

void Relay::watch_again() {
  const auto wanted = [](const Direction& from, const Direction& to) {
    const bool reads = !from.done && from.in_pipe == 0 && from.pace_waiter == 0;
    return static_cast<uint32_t>((reads ? POLLIN : 0) | (to.in_pipe != 0 ? POLLOUT : 0));
  };
  loop_.rearm(guest_.watch, wanted(from_guest_, to_guest_));
  loop_.rearm(outside_.watch, wanted(to_guest_, from_guest_));
}

void Relay::finish(int error) {
  if (error != 0) reset();
  const auto ended = std::move(callbacks_.ended);  // this may be gone before it returns
  ended(error);
}

}  // namespace microvm::net
