// A hostile vsock driver: packets with any header, against listeners, connects and sockets of the
// host that read, write, stop and close as the input says.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "vmm/virtio/vsock/vsock_guest.hpp"
#include "wire/bytes.hpp"

using namespace microvm;
using namespace microvm::test;
using vmm::VsockHeader;
using vmm::VsockOp;

namespace {

constexpr vmm::VsockLimits kLimits{.connections = 4, .window_bytes = 4096, .pending_resets = 4};
constexpr uint32_t kHostPort = 1024;
constexpr size_t kMaxData = 4096;
constexpr size_t kMaxHostData = 1 << 16;

class Session {
 public:
  explicit Session(VsockGuest::Ground ground) : guest_(std::move(ground), kLimits, 4) {
    guest_.device().listen(kHostPort, [this](base::Fd fd) { ends_.push_back(std::move(fd)); });
  }

  void run(wire::ByteReader& in) {
    while (in.ok() && in.left() > 0) step(in);
    for (int i = 0; i < 3; ++i) guest_.loop->run_once(std::chrono::milliseconds(0));
    if (guest_.device().connections() > kLimits.connections) std::abort();
  }
  VsockGuest::Ground leave() { return guest_.leave(); }

 private:
  void step(wire::ByteReader& in) {
    const auto command = in.get<uint8_t>();
    switch (command % 12) {
      case 0:
      case 1:
      case 2:
        return send_likely(in);
      case 3:
        return send_any(in);
      case 4:
        return take_packet(command >= 128);
      case 5:
        return host_write(in);
      case 6:
        return host_read(in);
      case 7:
        return host_close(in);
      case 8:
        return guest_.device().connect(in.get<uint8_t>() % 4, [this](Result<base::Fd> done) {
          if (done) ends_.push_back(std::move(*done));
        });
      case 9:
        return guest_.device().reset_connections();
      case 10:
        return restart();
      default:
        return guest_.loop->run_once(std::chrono::milliseconds(0));
    }
  }

  // A header that reaches the state machine: ports of few values, fields near what is right.
  void send_likely(wire::ByteReader& in) {
    const uint32_t guest_port = in.get<uint8_t>() % 4;
    const uint32_t host_port =
        (guest_port & 1) != 0 ? kHostPort : vmm::kFirstHostPort + in.get<uint8_t>() % 4;
    auto header =
        VsockGuest::header(static_cast<VsockOp>(in.get<uint8_t>() % 9), guest_port, host_port);
    header.flags = in.get<uint8_t>() % 4;
    header.buf_alloc = in.get<uint16_t>();
    header.fwd_cnt = in.get<uint16_t>();
    guest_.send(header, std::string(in.get<uint16_t>() % kMaxData, 'd'));
  }

  void send_any(wire::ByteReader& in) {
    VsockHeader header;
    const auto bytes = in.get_bytes(sizeof header);
    if (bytes.size() == sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
    guest_.send(header, std::string(in.get<uint8_t>(), 'a'));
  }

  void take_packet(bool keep_buffer) {
    const auto packet = guest_.take_packet(true);
    if (!packet || keep_buffer) return;
    guest_.give_back(packet->buffer);
  }

  base::Fd* pick(wire::ByteReader& in) {
    return ends_.empty() ? nullptr : &ends_[in.get<uint8_t>() % ends_.size()];
  }

  void host_write(wire::ByteReader& in) {
    static const std::string data(kMaxHostData, 'h');
    const base::Fd* end = pick(in);
    const size_t count = in.get<uint16_t>();
    if (end != nullptr) (void)::send(end->get(), data.data(), count, MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  void host_read(wire::ByteReader& in) {
    static std::string data(kMaxHostData, 0);
    const base::Fd* end = pick(in);
    const size_t count = in.get<uint16_t>();
    if (end != nullptr) (void)::recv(end->get(), data.data(), count, MSG_DONTWAIT);
  }

  void host_close(wire::ByteReader& in) {
    base::Fd* end = pick(in);
    const auto how = in.get<uint8_t>() % 4;
    if (end == nullptr) return;
    if (how < 3) {
      ::shutdown(end->get(), how);
    } else {
      std::swap(*end, ends_.back());
      ends_.pop_back();
    }
  }

  void restart() {
    write_register(*guest_.transport, vmm::mmio::kStatus, 0);
    for (MockRing* ring : {&guest_.rx, &guest_.tx, &guest_.event}) {
      ring->wind_to(0);
      ring->clear_kick_event();
    }
    start_driver(*guest_.transport, VsockGuest::kFeatures, {&guest_.rx, &guest_.tx, &guest_.event});
    for (uint16_t i = 0; i < 4; ++i) guest_.give_back(i);
  }

  std::vector<base::Fd> ends_;
  VsockGuest guest_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static VsockGuest::Ground ground{.loop =
                                       std::move(*sys::Loop::create(sys::Loop::Backend::plain))};
  wire::ByteReader in(std::as_bytes(std::span(data, size)));
  Session session(std::move(ground));
  session.run(in);
  ground = session.leave();
  return 0;
}
