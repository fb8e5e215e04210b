// The whole way of a guest's frames: a kernel's TCP in a namespace that plays the guest, a driver
// of virtio-net, the worker's device and link, its starter, the real microvm-net, a server outside.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "net/flow/address.hpp"
#include "net/network_under_test.hpp"
#include "net/sockets.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"
#include "unit/host/temp_dir.hpp"
#include "vmm/control/net_link.hpp"
#include "vmm/control/net_starter.hpp"
#include "vmm/virtio/net_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace std::chrono_literals;
using net::space::SocketType;
using vmm::control::NetLink;

namespace {

constexpr uint64_t kOffloaded = kBasic | kOffloads | vmm::kNetGuestTso6 | vmm::kNetHostTso6;

// What a guest's driver does, on a thread of its own with the loop.
class VirtioGuest {
 public:
  explicit VirtioGuest(const wire::NetworkSetup& setup) : driver_(kOffloaded) {
    const base::Fd home(::open(home_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(
        sys::write_file_atomic(home.get(), wire::kNetworkFile, wire::encode_network_setup(setup)));
    link_.emplace(*driver_.loop, start_starter(home.get()), [this](wire::NetworkEvent event) {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    });
    const auto made = space_.start(
        [this] { return set_up_guest().map([this](auto tap) { tap_ = std::move(tap); }); });
    REQUIRE_MESSAGE(made, made.error().message);
    driver_.put(link_->make_device());
    driver_.start();
    driver_.give(kBufferBytes, 128);
    thread_ = std::thread([this] { run(); });
  }
  ~VirtioGuest() {
    stop_ = true;
    thread_.join();
    link_.reset();
  }
  base::Fd tcp() {
    auto socket = space_.take(SocketType::tcp4);
    REQUIRE(socket);
    REQUIRE(sys::set_nonblocking(socket->get(), false));
    const timeval patience{10, 0};
    ::setsockopt(socket->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket->get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return std::move(*socket);
  }
  std::vector<wire::NetworkEvent> events() {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  wire::NetCounters counters() { return driver_.counters(); }

 private:
  static constexpr uint32_t kBufferBytes = 4096;

  base::Fd start_starter(int home) {
    base::Fd program(::open(MICROVM_NET_PATH, O_RDONLY | O_CLOEXEC));
    REQUIRE(program);
    auto homes = sys::seqpacket_pair();
    REQUIRE(homes);
    const std::byte byte{0};
    REQUIRE(sys::send_message(homes->first.get(), std::span(&byte, 1), std::span(&home, 1)));
    auto starter = vmm::control::fork_net_starter(std::move(program), std::move(homes->second));
    REQUIRE(starter);
    return std::move(*starter);
  }
  void run() {
    sys::Loop& loop = *driver_.loop;
    const auto watch = loop.watch(tap_.fd.get(), POLLIN, [this](uint32_t) { from_kernel(); });
    driver_.kick_rx();
    while (!stop_) {
      loop.run_once(5ms);
      to_kernel();
    }
    loop.unwatch(watch);
  }
  // One at a time: a long frame stands where those of other descriptors would.
  void from_kernel() {
    for (int i = 0; i < 64; ++i) {
      const ssize_t got = ::read(tap_.fd.get(), frame_.data(), frame_.size());
      if (got < static_cast<ssize_t>(sizeof(NetHeader))) return;
      NetHeader header;
      std::memcpy(&header, frame_.data(), sizeof header);
      driver_.send({frame_.begin() + sizeof header, frame_.begin() + got}, header);
      driver_.kick_tx();
      static_cast<void>(driver_.sent());
    }
  }
  void to_kernel() {
    while (driver_.rx.used_index() != driver_.rx.seen_used) {
      NetHeader header;
      const FrameBytes frame = driver_.received(&header);
      iovec parts[] = {{&header, sizeof header},
                       {const_cast<std::byte*>(frame.data()), frame.size()}};
      [[maybe_unused]] const auto put = ::writev(tap_.fd.get(), parts, 2);
      driver_.give(kBufferBytes, header.num_buffers);
      if (driver_.rx.kick_event() == driver_.rx.next_available - header.num_buffers) {
        driver_.kick_rx();
      }
    }
  }

  TempDir home_;
  NetDriver<OnPci> driver_;
  std::optional<NetLink> link_;
  net::space::SpaceThread space_;
  net::space::Tap tap_;
  FrameBytes frame_ = FrameBytes(wire::kMaxFrameBytes);
  std::mutex mutex_;
  std::vector<wire::NetworkEvent> events_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

int connect_to(int socket, const wire::NetEndpoint& to) {
  const auto address = net::socket_address(to);
  return ::connect(socket, address.raw(), address.size) == 0 ? 0 : errno;
}

// The bytes that arrived, and whether they were the right ones.
size_t pump(int from, int to, size_t bytes) {
  std::thread sender([&] {
    std::string block(256 * 1024, 0);
    for (size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i * 31 + i / 997);
    for (size_t sent = 0; sent < bytes;) {
      const size_t at = sent % block.size();
      const ssize_t put =
          ::send(from, block.data() + at, std::min(block.size() - at, bytes - sent), MSG_NOSIGNAL);
      if (put <= 0) return;
      sent += static_cast<size_t>(put);
    }
  });
  size_t seen = 0;
  std::string buffer(256 * 1024, 0);
  while (seen < bytes) {
    const ssize_t got = ::recv(to, buffer.data(), buffer.size(), 0);
    if (got <= 0) break;
    for (ssize_t i = 0; i < got; ++i) {
      const size_t at = (seen + static_cast<size_t>(i)) % buffer.size();
      if (buffer[static_cast<size_t>(i)] != static_cast<char>(at * 31 + at / 997)) bytes = 0;
    }
    seen += static_cast<size_t>(got);
  }
  sender.join();
  return bytes == 0 ? 0 : seen;
}

}  // namespace

TEST_CASE("virtio: a guest's flow goes through the worker's device to a server outside") {
  if (!enter_test_host()) return;
  wire::NetworkSetup setup;
  setup.rules.push_back(prefix_rule(wire::Verdict::allow, "127.0.0.0/8"));
  setup.rules.push_back(prefix_rule(wire::Verdict::allow, "93.184.216.34/32"));
  setup.rules.push_back(prefix_rule(wire::Verdict::deny, "0.0.0.0/0"));
  VirtioGuest guest(setup);
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  const base::Fd client = guest.tcp();
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(connect_to(client.get(), there) == 0);
  const auto first = std::chrono::steady_clock::now() - begin;
  MESSAGE("from the first frame to the first answer: "
          << std::chrono::duration_cast<std::chrono::microseconds>(first).count() << " us");
  const base::Fd server = accept_one(listener);
  constexpr size_t kBytes = size_t{32} << 20;
  CHECK(pump(client.get(), server.get(), kBytes) == kBytes);
  CHECK(pump(server.get(), client.get(), kBytes) == kBytes);
  const base::Fd denied = guest.tcp();
  CHECK(connect_to(denied.get(), endpoint("93.184.216.35", 80)) == ECONNREFUSED);
  const auto counters = guest.counters();
  MESSAGE("frames from the guest: " << counters.frames_from_guest
                                    << ", to it: " << counters.frames_to_guest << ", for "
                                    << (kBytes >> 20) << " MiB each way");
  CHECK(counters.malformed == 0);
  CHECK(counters.spoofed == 0);
  CHECK(counters.unwanted == 0);
  CHECK(counters.overrun == 0);
  CHECK(counters.frames_from_guest < kBytes / 4096);  // segments are cut by nobody on the way
  CHECK(counters.frames_to_guest < kBytes / 4096);
  const auto events = guest.events();
  REQUIRE(events.size() == 1);
  CHECK(events[0].what == wire::NetworkEvent::What::up);
}
