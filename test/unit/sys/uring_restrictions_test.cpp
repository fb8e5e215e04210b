#include "sys/uring_restrictions.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "sys/loop.hpp"

using microvm::base::Fd;
using microvm::sys::Loop;

namespace {

// A ring as UringLoop makes one; empty where the host has none or cannot restrict it.
class RestrictedRing {
 public:
  static std::unique_ptr<RestrictedRing> make() {
    std::unique_ptr<RestrictedRing> made(new RestrictedRing);
    if (io_uring_queue_init(4, &made->ring_, IORING_SETUP_R_DISABLED) != 0) return nullptr;
    made->open_ = true;
    if (!microvm::sys::restrict_ring(made->ring_)) return nullptr;
    REQUIRE(io_uring_enable_rings(&made->ring_) == 0);
    return made;
  }
  ~RestrictedRing() {
    if (open_) io_uring_queue_exit(&ring_);
  }
  RestrictedRing(const RestrictedRing&) = delete;
  RestrictedRing& operator=(const RestrictedRing&) = delete;

  // What the operation that `prepare` fills in completes with.
  template <class Prepare>
  int result_of(Prepare prepare) {
    prepare(io_uring_get_sqe(&ring_));
    REQUIRE(io_uring_submit_and_wait(&ring_, 1) >= 0);
    io_uring_cqe* cqe = nullptr;
    REQUIRE(io_uring_peek_cqe(&ring_, &cqe) == 0);
    const int result = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);
    return result;
  }

  io_uring& ring() { return ring_; }

 private:
  RestrictedRing() = default;
  io_uring ring_{};
  bool open_ = false;
};

// The rings this process has open; a loop does not show its own.
std::optional<int> open_ring() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone) == "anon_inode:[io_uring]") {
      return std::stoi(entry.path().filename());
    }
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("a restricted ring does what the loop asks for") {
  const auto ring = RestrictedRing::make();
  if (!ring) return;  // a host that has no io_uring runs the plain loop
  const Fd fd(eventfd(1, EFD_CLOEXEC));
  uint64_t value = 0;
  iovec whole{&value, sizeof value};
  CHECK(ring->result_of([&](auto* sqe) { io_uring_prep_poll_add(sqe, fd.get(), POLLIN); }) ==
        POLLIN);
  CHECK(ring->result_of([&](auto* sqe) { io_uring_prep_read(sqe, fd.get(), &value, 8, 0); }) == 8);
  CHECK(value == 1);
  CHECK(ring->result_of([&](auto* sqe) { io_uring_prep_writev(sqe, fd.get(), &whole, 1, 0); }) ==
        8);
  CHECK(ring->result_of([&](auto* sqe) { io_uring_prep_cancel64(sqe, 77, 0); }) == -ENOENT);
}

TEST_CASE("a restricted ring refuses every other operation") {
  const auto ring = RestrictedRing::make();
  if (!ring) return;
  CHECK(ring->result_of([](auto* sqe) { io_uring_prep_nop(sqe); }) == -EACCES);
  CHECK(ring->result_of([](auto* sqe) {
    io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
  }) == -EACCES);
  CHECK(ring->result_of([](auto* sqe) {
    io_uring_prep_socket(sqe, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0);
  }) == -EACCES);
  // an allowed operation with a flag that is not
  const Fd fd(eventfd(1, EFD_CLOEXEC));
  CHECK(ring->result_of([&](auto* sqe) {
    io_uring_prep_poll_add(sqe, fd.get(), POLLIN);
    sqe->flags |= IOSQE_ASYNC;
  }) == -EACCES);
  const int registered = fd.get();
  CHECK(io_uring_register_files(&ring->ring(), &registered, 1) == -EACCES);
}

TEST_CASE("the loop's own ring is restricted") {
  if (!RestrictedRing::make()) return;
  REQUIRE(!open_ring());
  const auto loop = Loop::create(Loop::Backend::io_uring);
  REQUIRE(loop);
  (*loop)->run_once(std::chrono::milliseconds(0));
  const auto fd = open_ring();
  REQUIRE(fd);
  const Fd event(eventfd(0, EFD_CLOEXEC));
  int number = event.get();
  CHECK(::syscall(SYS_io_uring_register, *fd, IORING_REGISTER_EVENTFD, &number, 1) == -1);
  CHECK(errno == EACCES);
}
