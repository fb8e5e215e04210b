#include "vmm/control/net_link.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "host/temp_dir.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"
#include "vmm/control/net_starter.hpp"
#include "vmm/virtio/net_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace std::chrono_literals;
using vmm::control::NetLink;
using What = wire::NetworkEvent::What;

namespace {

constexpr auto kStartLimit = 1000ms;

// A guest, a link, a starter, and in microvm-net's place net_stand_in.
struct Linked : NetDriver<OnPci> {
  enum class Home { comes, closed };
  explicit Linked(const char* mode, const char* program = MICROVM_NET_STAND_IN,
                  Home home = Home::comes)
      : NetDriver(kBasic | kOffloads) {
    set_mode(mode);
    base::Fd file(::open(program, O_RDONLY | O_CLOEXEC));
    REQUIRE(file);
    auto homes = sys::seqpacket_pair();
    REQUIRE(homes);
    auto forked = vmm::control::fork_net_starter(std::move(file), std::move(homes->second));
    REQUIRE(forked);
    link = std::make_unique<NetLink>(
        *loop, std::move(*forked),
        [this](wire::NetworkEvent event) { events.push_back(std::move(event)); }, kStartLimit);
    if (home == Home::comes) send_home(homes->first.get());
    put(link->make_device());
    start();
    give(2048, 16);
    kick_rx();
  }
  // Its end is the starter's.
  ~Linked() {
    link.reset();
    while (::waitpid(-1, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  void set_mode(const char* mode) {
    const base::Fd file(::openat(directory.get(), "mode", O_WRONLY | O_CREAT | O_TRUNC, 0600));
    REQUIRE(::write(file.get(), mode, std::strlen(mode)) ==
            static_cast<ssize_t>(std::strlen(mode)));
  }
  void send_home(int socket) const {
    const std::byte byte{0};
    const int fd = directory.get();
    REQUIRE(sys::send_message(socket, std::span(&byte, 1), std::span(&fd, 1)));
  }
  [[nodiscard]] std::string file(const char* name) const {
    const auto bytes = sys::read_file(directory.get(), name, 1 << 20);
    return bytes ? std::string(wire::as_text(*bytes)) : std::string();
  }
  [[nodiscard]] size_t runs() const { return file("runs").size(); }
  void kick(const FrameBytes& frame) {
    send(frame);
    kick_tx();
  }
  bool wait_events(size_t count) {
    return run_until(*loop, [&] { return events.size() >= count; });
  }

  TempDir scratch;
  base::Fd directory{::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  std::vector<wire::NetworkEvent> events;
  std::unique_ptr<NetLink> link;
};

}  // namespace

TEST_CASE("net link: the first frame starts microvm-net, and gets there") {
  Linked guest("up");
  guest.kick(solicitation_frame());
  guest.loop->run_once(20ms);
  CHECK(guest.runs() == 0);
  CHECK(guest.link->starts() == 0);
  guest.kick(syn_frame());
  guest.kick(ack_frame());
  REQUIRE(run_until(*guest.loop, [&] { return guest.rx.used_index() != 0; }));
  CHECK(guest.received() == syn_frame());
  REQUIRE(guest.events.size() == 1);
  CHECK(guest.events[0].what == What::up);
  REQUIRE(run_until(*guest.loop, [&] { return !guest.file("tap").empty(); }));
  CHECK(guest.file("tap").size() == 12 + ack_frame().size());
  CHECK(guest.runs() == 1);
  CHECK(guest.link->starts() == 1);
  CHECK(guest.sent() == 3);
}

TEST_CASE("net link: a pair that was admitted goes to the tap") {
  Linked guest("up");
  guest.kick(udp_frame());
  REQUIRE(run_until(*guest.loop, [&] { return guest.rx.used_index() != 0; }));
  guest.loop->run_once(0ms);
  CHECK(guest.file("tap").empty());
  guest.kick(udp_frame());
  REQUIRE(run_until(*guest.loop, [&] { return !guest.file("tap").empty(); }));
}

TEST_CASE("net link: killed, the guest's next frame starts another one, after a while") {
  Linked guest("up");
  guest.kick(syn_frame());
  REQUIRE(guest.wait_events(1));
  REQUIRE(::kill(std::stoi(guest.file("pid")), SIGKILL) == 0);
  REQUIRE(guest.wait_events(2));
  CHECK(guest.events[1].what == What::ended);
  CHECK(guest.events[1].message == "microvm-net ended; the guest's next frame starts it again");
  guest.kick(syn_frame());
  CHECK(guest.link->starts() == 1);
  CHECK(guest.counters().no_network == 1);
  std::this_thread::sleep_for(NetLink::kShortestPause);
  guest.kick(syn_frame());
  REQUIRE(guest.wait_events(3));
  CHECK(guest.events[2].what == What::up);
  CHECK(guest.link->starts() == 2);
  CHECK(guest.runs() == 2);
}

TEST_CASE("net link: one that does not come up in time is given up, and ended by the next start") {
  Linked guest("hang");
  guest.kick(syn_frame());
  REQUIRE(run_until(*guest.loop, [&] { return !guest.file("pid").empty(); }));
  guest.kick(syn_frame());
  CHECK(guest.sent() == 0);
  REQUIRE(guest.wait_events(1));
  REQUIRE(guest.events.size() == 1);
  CHECK(guest.events[0].what == What::failed);
  CHECK(guest.sent() == 2);
  const int hung = std::stoi(guest.file("pid"));
  guest.set_mode("up");
  std::this_thread::sleep_for(NetLink::kShortestPause);
  guest.kick(syn_frame());
  REQUIRE(guest.wait_events(2));
  CHECK(guest.events[1].what == What::up);
  CHECK(::kill(hung, 0) != 0);
}

TEST_CASE("net link: what it says of its failure is told, and what waited is dropped") {
  Linked guest("fail");
  guest.kick(syn_frame());
  REQUIRE(guest.wait_events(1));
  CHECK(guest.events[0].what == What::failed);
  CHECK(guest.events[0].code == 9);
  CHECK(guest.events[0].message == "no tun");
  CHECK(guest.sent() == 1);
  CHECK(guest.counters().no_network == 1);
}

TEST_CASE("net link: one that ends without a word, or talks nonsense, has failed") {
  for (const auto& [mode, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"end", "microvm-net ended before it was up"},
           {"nonsense", "microvm-net said what it may not say"}}) {
    Linked guest(mode);
    guest.kick(syn_frame());
    REQUIRE(guest.wait_events(1));
    CHECK(guest.events[0].message == text);
  }
}

TEST_CASE("net link: a program that cannot be run, or a directory that did not come, is told") {
  {
    Linked guest("up", "/etc/passwd");
    guest.kick(syn_frame());
    REQUIRE(guest.wait_events(1));
    CHECK(guest.events[0].message.starts_with("start microvm-net: run the program: "));
  }
  Linked guest("up", MICROVM_NET_STAND_IN, Linked::Home::closed);
  guest.kick(syn_frame());
  REQUIRE(guest.wait_events(1));
  CHECK(guest.events[0].message.starts_with("start microvm-net: its directory did not come"));
}

TEST_CASE("net link: a starter opens the resolver's file for microvm-net") {
  Linked guest("files");
  guest.kick(syn_frame());
  REQUIRE(guest.wait_events(1));
  const auto own = sys::read_file(AT_FDCWD, "/etc/resolv.conf", 1 << 20);
  CHECK(guest.file("resolv.conf") == (own ? std::string(wire::as_text(*own)) : "no file"));
}

TEST_CASE("net link: without a starter there is no network, and this is told") {
  Linked other("up");
  std::vector<wire::NetworkEvent> events;
  NetLink link(*other.loop, {}, [&](wire::NetworkEvent event) { events.push_back(event); });
  NetDriver<OnPci> guest(kBasic | kOffloads);
  guest.loop = std::move(*sys::Loop::create());
  guest.put(link.make_device());
  guest.start();
  guest.send(syn_frame());
  guest.kick_tx();
  guest.send(syn_frame());
  guest.kick_tx();
  other.loop->run_once(0ms);
  REQUIRE(events.size() == 1);
  CHECK(events[0].what == What::failed);
  CHECK(events[0].message == "this worker was given no microvm-net");
  CHECK(guest.counters().no_network == 2);
}
