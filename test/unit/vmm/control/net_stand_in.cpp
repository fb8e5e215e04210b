// In microvm-net's place, for tests of who starts it. What it does stands in the file `mode` of the
// directory that it gets:
//   up      sends a "tap", which is a socket, sends each first packet back through it, admits the
//           pairs of those that are of UDP, and writes what it was sent into `tap`
//   fail    says that it can not be
//   end     says nothing, and ends
//   hang    says nothing
//   files   asks its starter for /etc/resolv.conf and writes it into `resolv.conf`
//   nonsense
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

#include "sys/socket.hpp"
#include "vmm/virtio/net_frame.hpp"
#include "wire/net.hpp"

using namespace microvm;

namespace {

wire::Bytes read_all(int fd) {
  wire::Bytes bytes(4096);
  const ssize_t got = ::read(fd, bytes.data(), bytes.size());
  bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return bytes;
}

void put(const char* name, wire::ByteView bytes) {
  const base::Fd file(
      ::openat(wire::kNetHomeFd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  static_cast<void>(!::write(file.get(), bytes.data(), bytes.size()));
}

void say(const wire::NetMessage& message, std::span<const int> fds = {}) {
  static_cast<void>(sys::send_message(wire::kNetWorkerFd, wire::encode_net(message), fds));
}

void admit(const vmm::Frame& frame) {
  const auto facts = vmm::classify(frame);
  if (facts.kind == vmm::FrameKind::udp) say(wire::UdpPair{true, facts.guest, facts.remote});
}

void answer(int tap, const wire::Bytes& packet) {
  if (packet.size() < sizeof(vmm::NetHeader)) return;
  const auto bytes = wire::ByteView(packet).subspan(sizeof(vmm::NetHeader));
  admit({{}, bytes.first(std::min(bytes.size(), vmm::kFrameHeadBytes)), bytes.size()});
  static_cast<void>(::send(tap, packet.data(), packet.size(), 0));
}

// Until the worker is gone.
void serve(int tap) {
  for (;;) {
    std::array<pollfd, 2> waited{pollfd{wire::kNetWorkerFd, POLLIN, 0}, pollfd{tap, POLLIN, 0}};
    ::poll(waited.data(), waited.size(), -1);
    if (waited[1].revents != 0) put("tap", read_all(tap));
    if (waited[0].revents == 0) continue;
    const auto received =
        sys::receive_message(wire::kNetWorkerFd, {.bytes = wire::kMaxNetMessage, .fds = 1});
    if (!received) return;
    const auto message = wire::decode_net(received->bytes);
    if (const auto* first = message ? std::get_if<wire::FirstPacket>(&*message) : nullptr) {
      answer(tap, first->frame);
    }
  }
}

void ask_for_files() {
  const auto asked = std::byte(wire::StarterRequest::resolv_conf);
  static_cast<void>(sys::send_message(wire::kNetStarterFd, std::span(&asked, 1)));
  auto got = sys::receive_message(wire::kNetStarterFd);
  if (!got || got->bytes.size() != 1) return put("resolv.conf", wire::as_bytes("no answer"));
  if (got->fds.empty()) return put("resolv.conf", wire::as_bytes("no file"));
  put("resolv.conf", read_all(got->fds[0].get()));
}

}  // namespace

int main() {
  const base::Fd file(::openat(wire::kNetHomeFd, "mode", O_RDONLY | O_CLOEXEC));
  const wire::Bytes said = read_all(file.get());
  const auto mode = wire::as_text(said);
  put("runs", wire::as_bytes("."));
  put("pid", wire::as_bytes(std::to_string(::getpid())));
  if (mode == "fail") say(wire::NetFailed{9, "no tun"});
  if (mode == "files") ask_for_files();
  if (mode == "nonsense") say(wire::NetUp{});  // without its fd
  if (mode == "hang" || mode == "nonsense") ::pause();
  if (mode != "up") return 0;
  auto pair = sys::seqpacket_pair();
  if (!pair) return 1;
  const int fd = pair->first.get();
  say(wire::NetUp{}, std::span(&fd, 1));
  pair->first.reset();
  serve(pair->second.get());
  return 0;
}
