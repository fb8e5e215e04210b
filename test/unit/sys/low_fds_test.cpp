// In a process that was started without standard streams, none of our files takes their place.
#include "sys/low_fds.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <array>
#include <cerrno>
#include <string>

#include "base/fd.hpp"
#include "sys/file.hpp"
#include "sys/loop.hpp"
#include "sys/process.hpp"
#include "sys/socket.hpp"
#include "unit/without_streams.hpp"

using namespace microvm;
using namespace std::chrono_literals;
using base::Fd;
using test::holds_without_streams;
using test::low_fds_are_free;

namespace {

// It has what it was given as 3, and 0 to 2 of its own.
bool spawns() {
  const auto shell = sys::open_at(AT_FDCWD, "/bin/sh", O_RDONLY);
  const auto passed = sys::memory_file("passed");
  if (!shell || !passed || !low_fds_are_free()) return false;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  Fd out(ends[0]);
  Fd in(ends[1]);
  sys::SpawnOptions options;
  options.arguments = {"sh", "-c",
                       "readlink /proc/self/fd/0 /proc/self/fd/2; echo there >&3; exit 7"};
  options.standard_output = in.get();
  options.fds = {passed->get()};
  const auto child = sys::spawn(shell->get(), options);
  in.reset();
  const auto printed = sys::read_all(out.get(), 4096);
  const auto exit = child ? child->wait(sys::WaitLimits::within(5s)) : base::fail(child.error());
  if (!printed || !exit || exit->code != 7) return false;
  const std::string text(reinterpret_cast<const char*>(printed->data()), printed->size());
  return text == "/dev/null\n/dev/null\n" && *sys::file_size(passed->get()) == 6;
}

bool receives_files() {
  const auto pair = sys::seqpacket_pair();
  const auto file = sys::memory_file("sent");
  if (!pair || !file) return false;
  const std::array<int, 3> sent = {file->get(), file->get(), file->get()};
  if (!sys::send_message(pair->first.get(), std::as_bytes(std::span("x")), sent)) return false;
  const auto got = sys::receive_message(pair->second.get(), {.bytes = 16, .fds = 3});
  return got && got->fds.size() == 3 && low_fds_are_free();
}

bool makes_loop(sys::Loop::Backend backend) {
  const auto loop = sys::Loop::create(backend);
  return loop && low_fds_are_free();
}

// As many files open as this process may have, but for 0, 1 and 2.
void fill_up() {
  const int file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(file, 3);
  ::close(file);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = 4;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

TEST_CASE("low fds: an owned one never is one, and keeps its file") {
  CHECK(holds_without_streams([] {
    const Fd made(::open("/proc/self/stat", O_RDONLY | O_CLOEXEC));
    Fd later;
    later.reset(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    char byte = 0;
    return made.get() > 2 && later.get() > 2 && low_fds_are_free() &&
           ::fcntl(later.get(), F_GETFD) == FD_CLOEXEC && ::read(later.get(), &byte, 1) == 1 &&
           byte == 'N';
  }));
}

TEST_CASE("low fds: without room for another there is none, and it is said") {
  CHECK(holds_without_streams([] {
    fill_up();
    const Fd none(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return !none && errno == EMFILE && low_fds_are_free();
  }));
}

TEST_CASE("low fds: loops, received files and children") {
  CHECK(holds_without_streams([] { return makes_loop(sys::Loop::Backend::plain); }));
  CHECK(holds_without_streams([] { return makes_loop(sys::Loop::Backend::automatic); }));
  CHECK(holds_without_streams(receives_files));
  CHECK(holds_without_streams(spawns));
}

TEST_CASE("low fds: what is free is held, what somebody has stays") {
  CHECK(holds_without_streams([] {
    ::open("/proc/self/stat", O_RDONLY);
    {
      const sys::LowFdsHeld held;
      const int foreign = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      if (foreign != 3 || ::close(foreign) != 0) return false;
    }
    return ::fcntl(0, F_GETFD) == 0 && ::close(0) == 0 && low_fds_are_free();
  }));
}
