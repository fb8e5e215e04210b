#include "agent/link/relay.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "agent/link/vsock.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kBufferBytes = 32 * 1024;
constexpr int kStepsPerTurn = 64;

// One direction. While its buffer holds something, nothing more is read: the sender waits.
class Direction {
 public:
  Direction(int from, int to, std::atomic<uint64_t>& moved_bytes)
      : from_(from), to_(to), moved_bytes_(moved_bytes), buffer_(kBufferBytes) {}

  [[nodiscard]] bool moving() const { return state_ == State::moving; }
  [[nodiscard]] bool ended() const { return state_ == State::ended; }
  [[nodiscard]] bool broken() const { return state_ == State::broken; }
  [[nodiscard]] bool wants_read() const { return moving() && begin_ == end_; }
  [[nodiscard]] bool wants_write() const { return moving() && begin_ != end_; }

  // Moves bytes until one of the streams would block, or the other direction has waited long
  // enough.
  void move() {
    bool more = true;
    for (int steps = 0; moving() && more && steps < kStepsPerTurn; steps++)
      more = wants_write() ? drain() : fill();
  }

 private:
  enum class State { moving, ended, broken };

  // One step. False: the stream would block, or broke.
  bool fill() {
    const ssize_t count = recv(from_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count < 0) return wait_or_break();
    begin_ = 0;
    end_ = static_cast<size_t>(count);
    moved_bytes_ += end_;
    if (count == 0) {
      state_ = State::ended;
      shutdown(to_, SHUT_WR);
    }
    return true;
  }

  bool drain() {
    const ssize_t count =
        send(to_, buffer_.data() + begin_, end_ - begin_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) return wait_or_break();
    begin_ += static_cast<size_t>(count);
    return true;
  }

  // A sender whose bytes nobody takes any more is told, and does not wait for room.
  bool wait_or_break() {
    if (errno == EAGAIN || errno == EINTR) return false;
    state_ = State::broken;
    shutdown(from_, SHUT_RD);
    return false;
  }

  int from_;
  int to_;
  std::atomic<uint64_t>& moved_bytes_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  State state_ = State::moving;
};

short interest(bool read, bool write) {
  return static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0));
}

// The application sees a reset, not an orderly end.
void break_stream(int tcp) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  setsockopt(tcp, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace

void relay(base::Fd host, base::Fd tcp, std::atomic<uint64_t>& moved_bytes) {
  Direction in(host.get(), tcp.get(), moved_bytes);
  Direction out(tcp.get(), host.get(), moved_bytes);
  for (;;) {
    // In this order: an application that answers and closes before it has read everything has
    // reset its stream. Sending to it fails, but its answer is there to be read, and goes on until
    // the host has it or leaves.
    out.move();
    in.move();
    if (out.broken()) return break_stream(tcp.get());
    if (!in.moving() && (out.ended() || host_left(host.get()))) {
      // What a host sent before its orderly end is with the application, which saw that end.
      if (in.broken()) break_stream(tcp.get());
      return;
    }
    std::array<pollfd, 2> polls{{{.fd = host.get(), .events = 0, .revents = 0},
                                 {.fd = tcp.get(), .events = 0, .revents = 0}}};
    polls[0].events = interest(in.wants_read(), out.wants_write());
    polls[1].events = interest(out.wants_read(), in.wants_write());
    // A closed stream would wake poll again and again although nothing is wanted from it.
    for (auto& slot : polls) slot.fd = slot.events == 0 ? -1 : slot.fd;
    poll(polls.data(), polls.size(), in.moving() ? -1 : kLeaveCheckMs);
  }
}

}  // namespace microvm::agent
