#include "sys/uring_restrictions.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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

// Asked of the kernel, without what is tested. A host that has no rings runs the plain loop.
bool host_restricts_rings() {
  io_uring ring{};
  if (io_uring_queue_init(4, &ring, IORING_SETUP_R_DISABLED) != 0) return false;
  io_uring_restriction one{};
  one.opcode = IORING_RESTRICTION_SQE_OP;
  one.sqe_op = IORING_OP_NOP;
  const bool taken = io_uring_register_restrictions(&ring, &one, 1) == 0;
  io_uring_queue_exit(&ring);
  if (!taken) MESSAGE("skipped: this host has no io_uring, or none that can be restricted");
  return taken;
}

// A ring as UringLoop makes one.
class RestrictedRing {
 public:
  RestrictedRing() {
    REQUIRE(io_uring_queue_init(4, &ring_, IORING_SETUP_R_DISABLED) == 0);
    REQUIRE(microvm::sys::restrict_ring(ring_));
    REQUIRE(io_uring_enable_rings(&ring_) == 0);
  }
  ~RestrictedRing() { io_uring_queue_exit(&ring_); }
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

  // What this operation on no file completes with.
  int result_of_nothing(uint8_t operation, uint8_t flags = 0) {
    return result_of([&](io_uring_sqe* sqe) {
      io_uring_prep_rw(operation, sqe, -1, nullptr, 0, 0);
      sqe->flags = flags;
    });
  }
  io_uring& ring() { return ring_; }

 private:
  io_uring ring_{};
};

constexpr std::array<uint8_t, 7> kNeeded = {
    IORING_OP_READ,  IORING_OP_READV,    IORING_OP_WRITE,       IORING_OP_WRITEV,
    IORING_OP_FSYNC, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};

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
  if (!host_restricts_rings()) return;
  RestrictedRing ring;
  const Fd fd(eventfd(1, EFD_CLOEXEC));
  uint64_t value = 0;
  iovec whole{&value, sizeof value};
  CHECK(ring.result_of([&](auto* sqe) { io_uring_prep_poll_add(sqe, fd.get(), POLLIN); }) ==
        POLLIN);
  CHECK(ring.result_of([&](auto* sqe) { io_uring_prep_read(sqe, fd.get(), &value, 8, 0); }) == 8);
  CHECK(value == 1);
  CHECK(ring.result_of([&](auto* sqe) { io_uring_prep_writev(sqe, fd.get(), &whole, 1, 0); }) == 8);
  CHECK(ring.result_of([&](auto* sqe) { io_uring_prep_readv(sqe, fd.get(), &whole, 1, 0); }) == 8);
  CHECK(ring.result_of([&](auto* sqe) { io_uring_prep_write(sqe, fd.get(), &value, 8, 0); }) == 8);
  CHECK(ring.result_of([](auto* sqe) { io_uring_prep_cancel64(sqe, 77, 0); }) == -ENOENT);
  CHECK(ring.result_of([](auto* sqe) { io_uring_prep_fsync(sqe, -1, 0); }) == -EBADF);
}

TEST_CASE("a restricted ring refuses every other operation") {
  if (!host_restricts_rings()) return;
  const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> known(io_uring_get_probe(),
                                                                         io_uring_free_probe);
  REQUIRE(known);
  RestrictedRing ring;
  int refused = 0;
  for (int operation = 0; operation < known->ops_len; ++operation) {
    if (!io_uring_opcode_supported(known.get(), operation)) continue;
    INFO("operation ", operation);
    const auto number = static_cast<uint8_t>(operation);
    const bool needed = std::ranges::find(kNeeded, number) != kNeeded.end();
    CHECK((ring.result_of_nothing(number) != -EACCES) == needed);
    if (!needed) ++refused;
  }
  CHECK(refused > 20);
  CHECK(ring.result_of([](auto* sqe) {
    io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
  }) == -EACCES);
}

TEST_CASE("a restricted ring takes no flag of a request, and no registration") {
  if (!host_restricts_rings()) return;
  RestrictedRing ring;
  for (const unsigned flag : {IOSQE_FIXED_FILE, IOSQE_IO_DRAIN, IOSQE_IO_LINK, IOSQE_IO_HARDLINK,
                              IOSQE_ASYNC, IOSQE_BUFFER_SELECT}) {
    INFO("flag ", flag);
    CHECK(ring.result_of_nothing(IORING_OP_READ, static_cast<uint8_t>(flag)) == -EACCES);
  }
  const Fd fd(eventfd(1, EFD_CLOEXEC));
  const int registered = fd.get();
  iovec memory{&ring, 8};
  CHECK(io_uring_register_files(&ring.ring(), &registered, 1) == -EACCES);
  CHECK(io_uring_register_buffers(&ring.ring(), &memory, 1) == -EACCES);
  CHECK(io_uring_register_eventfd(&ring.ring(), registered) == -EACCES);
  CHECK(io_uring_register_personality(&ring.ring()) == -EACCES);
}

TEST_CASE("the loop's own ring is restricted") {
  if (!host_restricts_rings()) return;
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
