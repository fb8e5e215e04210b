// A hostile network driver: any headers, frames and cuts of them, receive buffers of any size, and
// frames of the host; what is let through is looked at again.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "sys/socket.hpp"
#include "vmm/virtio/net_driver.hpp"

using namespace microvm;
using namespace microvm::test;

namespace {

constexpr uint64_t kAgreed = kBasic | kOffloads | vmm::kNetGuestTso6 | vmm::kNetHostTso6;

void must(bool holds) {
  if (!holds) std::abort();
}

// Of a frame on its way to the tap or to microvm-net.
void look_again(wire::ByteView packet) {
  must(packet.size() >= sizeof(NetHeader) + vmm::kEthernetBytes);
  NetHeader header;
  std::memcpy(&header, packet.data(), sizeof header);
  const FrameBytes frame(packet.begin() + sizeof header, packet.end());
  must(std::memcmp(frame.data() + 6, wire::kGuestMac.data(), wire::kGuestMac.size()) == 0);
  must((header.flags & ~vmm::kNetNeedsCsum) == 0 && header.num_buffers == 0);
  must(header.flags == 0 || size_t{header.csum_start} + header.csum_offset + 2 <= frame.size());
  must(header.gso_type != vmm::kNetGsoNone || frame.size() <= vmm::kMaxPlainFrame);
  const auto kind = vmm::classify(frame_of(frame, header)).kind;
  must(kind != vmm::FrameKind::malformed && kind != vmm::FrameKind::spoofed);
}

class Session {
 public:
  Session() : driver_(kAgreed) {
    auto pair = sys::seqpacket_pair();
    must(pair.has_value());
    tap_ = std::move(pair->second);
    must(sys::set_nonblocking(pair->first.get()).has_value());
    driver_.put(std::make_unique<NetDevice>(*driver_.loop, wire::NetworkKind::user,
                                            NetDevice::Callbacks{.want_tap = [] { return true; },
                                                                 .first_packet =
                                                                     [](wire::ByteView packet) {
                                                                       look_again(packet);
                                                                       return true;
                                                                     },
                                                                 .tap_lost = {}}));
    driver_.start();
    driver_.net->connect(std::move(pair->first));
  }

  void run(wire::ByteReader& in) {
    for (int steps = 0; steps < 64 && in.ok() && in.left() > 0; ++steps) step(in);
    must(driver_.on.transport->needs_reset() || driver_.on.transport->idle());
  }

 private:
  void step(wire::ByteReader& in) {
    switch (in.get<uint8_t>() % 4) {
      case 0:
        return driver_.give(1 + in.get<uint16_t>() % 4096, 1 + in.get<uint8_t>() % 8);
      case 1:
        return from_host(in);
      default:
        return send(in);
    }
  }
  void send(wire::ByteReader& in) {
    NetHeader header;
    const auto said = in.get_bytes(sizeof header);
    if (!said.empty()) std::memcpy(&header, said.data(), sizeof header);
    const auto bytes = in.get_bytes(std::min<size_t>(in.get<uint16_t>(), in.left()));
    const uint32_t size = static_cast<uint32_t>(sizeof header + bytes.size());
    driver_.send({bytes.begin(), bytes.end()}, header, in.get<uint16_t>() % size);
    driver_.kick_tx();
    static_cast<void>(driver_.sent());
    std::vector<std::byte> packet(wire::kMaxFrameBytes);
    for (ssize_t got; (got = ::recv(tap_.get(), packet.data(), packet.size(), MSG_DONTWAIT)) > 0;) {
      look_again(wire::ByteView(packet).first(static_cast<size_t>(got)));
    }
  }
  void from_host(wire::ByteReader& in) {
    const auto bytes = in.get_bytes(std::min<size_t>(in.get<uint16_t>(), in.left()));
    std::vector<std::byte> packet(bytes.begin(), bytes.end());
    packet.resize(packet.size() + in.get<uint16_t>() % 9000);
    static_cast<void>(::send(tap_.get(), packet.data(), packet.size(), MSG_DONTWAIT));
    driver_.kick_rx();
    driver_.loop->run_once(std::chrono::milliseconds(0));
    while (driver_.rx.take_used()) {
    }
  }

  base::Fd tap_;
  NetDriver<OnMmio> driver_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  wire::ByteReader in(std::as_bytes(std::span(data, size)));
  Session session;
  session.run(in);
  return 0;
}
