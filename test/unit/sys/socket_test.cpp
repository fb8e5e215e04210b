#include "sys/socket.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "sys/file.hpp"
#include "unit/sys/no_room_for_fds.hpp"

using namespace microvm;
using base::Fd;
using sys::SocketKind;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

size_t open_fds() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// A directory whose path alone is longer than sun_path.
struct DeepDirectory {
  DeepDirectory() {
    char name[] = "/tmp/microvm-socket-test-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    root = name;
    auto deep = root;
    for (int i = 0; i < 10; ++i) deep /= "a-directory-name-of-some-length";
    std::filesystem::create_directories(deep);
    path = deep;
    fd.reset(::open(deep.c_str(), O_DIRECTORY | O_PATH | O_CLOEXEC));
  }
  ~DeepDirectory() { std::filesystem::remove_all(root); }
  std::filesystem::path root;
  std::filesystem::path path;
  Fd fd;
};

}  // namespace

TEST_CASE("socket: a message carries bytes and fds") {
  const auto pair = sys::seqpacket_pair();
  REQUIRE(pair);
  const auto file = sys::memory_file("passed", 7);
  const std::array<int, 2> fds = {file->get(), file->get()};
  REQUIRE(sys::send_message(pair->first.get(), bytes_of("hello"), fds));
  const auto message = sys::receive_message(pair->second.get());
  REQUIRE(message);
  CHECK(std::ranges::equal(message->bytes, bytes_of("hello")));
  REQUIRE(message->fds.size() == 2);
  CHECK(sys::file_size(message->fds[0].get()) == 7);
  CHECK((::fcntl(message->fds[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("socket: a message over the limits is an error and leaks no fd") {
  const auto pair = sys::seqpacket_pair();
  const auto file = sys::memory_file("passed");
  const std::vector<int> fds(5, file->get());
  const size_t before = open_fds();
  SUBCASE("too many fds") {
    REQUIRE(sys::send_message(pair->first.get(), bytes_of("x"), fds));
    const auto message = sys::receive_message(pair->second.get(), {.bytes = 16, .fds = 2});
    REQUIRE_FALSE(message);
    CHECK(message.error().code == ErrorCode::protocol);
  }
  SUBCASE("one fd too many, where alignment leaves room for it") {
    REQUIRE(sys::send_message(pair->first.get(), bytes_of("x"), std::span(fds).first(2)));
    CHECK_FALSE(sys::receive_message(pair->second.get(), {.bytes = 16, .fds = 1}));
  }
  SUBCASE("too long") {
    REQUIRE(sys::send_message(pair->first.get(), bytes_of("longer than that"), fds));
    CHECK_FALSE(sys::receive_message(pair->second.get(), {.bytes = 4}));
  }
  CHECK(open_fds() == before);
}

TEST_CASE("socket: fds that there is no room for are told from a message that is too long") {
  const auto pair = sys::seqpacket_pair();
  const auto file = sys::memory_file("passed");
  const std::vector<int> fds(2, file->get());
  const size_t before = open_fds();
  REQUIRE(sys::send_message(pair->first.get(), bytes_of("hello"), fds));
  {
    const test::NoRoomForFds full;
    const auto message = sys::receive_message(pair->second.get(), {.bytes = 16, .fds = 2});
    REQUIRE(message);
    CHECK(message->out_of_fds);
    CHECK(message->fds.empty());
    CHECK(std::ranges::equal(message->bytes, bytes_of("hello")));
  }
  REQUIRE(sys::send_message(pair->first.get(), bytes_of("x"), fds));
  CHECK_FALSE(sys::receive_message(pair->second.get(), {.bytes = 16, .fds = 2})->out_of_fds);
  CHECK(open_fds() == before);
}

TEST_CASE("socket: the end of the peer and a full or empty socket are told apart") {
  auto pair = sys::seqpacket_pair();
  REQUIRE(sys::set_nonblocking(pair->second.get()));
  CHECK(sys::receive_message(pair->second.get()).error().code == ErrorCode::busy);
  pair->first.reset();
  CHECK(sys::receive_message(pair->second.get()).error().code == ErrorCode::vm_gone);
  CHECK(sys::send_message(pair->second.get(), bytes_of("x")).error().code == ErrorCode::vm_gone);
}

TEST_CASE("socket: listen and connect below a path longer than sun_path") {
  const DeepDirectory directory;
  REQUIRE(directory.path.string().size() > 200);
  const auto missing = sys::connect_unix(directory.fd.get(), "control", SocketKind::seqpacket);
  CHECK(missing.error().code == ErrorCode::not_found);
  auto listener = sys::listen_unix(directory.fd.get(), "control", SocketKind::seqpacket);
  REQUIRE(listener);
  CHECK(std::filesystem::is_socket(directory.path / "control"));
  const auto client = sys::connect_unix(directory.fd.get(), "control", SocketKind::seqpacket);
  REQUIRE(client);
  const auto served = sys::accept_unix(listener->get());
  REQUIRE(served);
  REQUIRE(sys::send_message(client->get(), bytes_of("hi")));
  CHECK(sys::receive_message(served->get())->bytes.size() == 2);

  const auto again = sys::listen_unix(directory.fd.get(), "control", SocketKind::seqpacket);
  CHECK(again.error().code == ErrorCode::already_exists);
  listener->reset();
  const auto dead = sys::connect_unix(directory.fd.get(), "control", SocketKind::seqpacket);
  CHECK(dead.error().code == ErrorCode::connection_refused);
}

TEST_CASE("socket: bad names, and a listener nobody waits at") {
  const DeepDirectory directory;
  for (const std::string& name : {std::string(), std::string("a/b"), std::string(100, 'n')}) {
    const auto listener = sys::listen_unix(directory.fd.get(), name, SocketKind::stream);
    CHECK(listener.error().code == ErrorCode::invalid_argument);
  }
  const auto listener = sys::listen_unix(directory.fd.get(), "s", SocketKind::stream);
  REQUIRE(sys::set_nonblocking(listener->get()));
  const auto nobody = sys::accept_unix(listener->get());
  REQUIRE(nobody);
  CHECK_FALSE(nobody->valid());
}
