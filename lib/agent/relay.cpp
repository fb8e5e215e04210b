#include "agent/relay.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "agent/vsock.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kBufferBytes = 32 * 1024;

enum class Step { done, wait, broken };

// One direction. While its buffer holds something, nothing more is read: the sender waits.
class Direction {
 public:
  Direction(int from, int to, std::atomic<uint64_t>& moved_bytes)
      : from_(from), to_(to), moved_bytes_(moved_bytes), buffer_(kBufferBytes) {}

  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool wants_read() const { return !ended_ && begin_ == end_; }
  [[nodiscard]] bool wants_write() const { return begin_ != end_; }

  // Moves bytes until one of the streams would block.
  Step move() {
    Step step = Step::done;
    while (!ended_ && step == Step::done) step = wants_write() ? drain() : fill();
    return step;
  }

 private:
  Step fill() {
    const ssize_t count = recv(from_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? Step::wait : Step::broken;
    begin_ = 0;
    end_ = static_cast<size_t>(count);
    moved_bytes_ += end_;
    if (count == 0) {
      ended_ = true;
      shutdown(to_, SHUT_WR);
    }
    return Step::done;
  }

  Step drain() {
    const ssize_t count =
        send(to_, buffer_.data() + begin_, end_ - begin_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? Step::wait : Step::broken;
    begin_ += static_cast<size_t>(count);
    return Step::done;
  }

  int from_;
  int to_;
  std::atomic<uint64_t>& moved_bytes_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool ended_ = false;
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
    if (in.move() == Step::broken || out.move() == Step::broken) return break_stream(tcp.get());
    // What a host sent that left is with the application, which saw an orderly end.
    if (in.ended() && (out.ended() || host_left(host.get()))) return;
    std::array<pollfd, 2> polls{{{.fd = host.get(), .events = 0, .revents = 0},
                                 {.fd = tcp.get(), .events = 0, .revents = 0}}};
    polls[0].events = interest(in.wants_read(), out.wants_write());
    polls[1].events = interest(out.wants_read(), in.wants_write());
    // A closed stream would wake poll again and again although nothing is wanted from it.
    for (auto& slot : polls) slot.fd = slot.events == 0 ? -1 : slot.fd;
    poll(polls.data(), polls.size(), in.ended() ? kLeaveCheckMs : -1);
  }
}

}  // namespace microvm::agent
