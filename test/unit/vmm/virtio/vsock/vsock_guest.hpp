// A guest's vsock driver on the mock rings. It keeps the rules of the event index: a kick that the
// device did not ask for is not sent, so a device that forgets to ask hangs here as it would in
// Linux.
#pragma once

#include <string>

#include "vmm/virtio/mock_driver.hpp"
#include "vmm/virtio/vsock/vsock.hpp"

namespace microvm::test {

// What the guest got, in fields a test can refer to.
struct VsockPacket {
  vmm::VsockOp op;
  uint16_t type;
  uint64_t src_cid;
  uint32_t src_port;
  uint32_t dst_port;
  uint32_t flags;
  uint32_t buf_alloc;
  uint32_t fwd_cnt;
  uint16_t buffer;  // its place in the receive ring
  std::string data;
};

// Behind either transport.
template <class Bus>
class VsockGuestOn : public Bus {
 public:
  using Bus::transport;
  static constexpr uint16_t kSize = 16;
  static constexpr uint32_t kBufferBytes = 4096;
  static constexpr uint64_t kRxData = 0x100000;
  static constexpr uint64_t kTxData = 0x180000;
  static constexpr uint64_t kEventData = 0x200000;
  static constexpr uint64_t kFeatures =
      vmm::kFeatureVersion1 | vmm::kFeatureEventIdx | vmm::VsockDevice::kFeatureStream;

  // What a guest stands on, and can leave to the next one: where there are thousands of guests in a
  // second, to make it anew is most of the work.
  struct Ground {
    vmm::GuestMemory memory = make_memory();
    std::unique_ptr<sys::Loop> loop;
  };

  explicit VsockGuestOn(vmm::VsockLimits limits = {}, uint16_t receive_buffers = kSize,
                        sys::Loop::Backend backend = sys::Loop::Backend::automatic)
      : VsockGuestOn({.loop = std::move(*sys::Loop::create(backend))}, limits, receive_buffers) {}
  VsockGuestOn(Ground ground, vmm::VsockLimits limits, uint16_t receive_buffers)
      : memory(std::move(ground.memory)), loop(std::move(ground.loop)) {
    renew(limits);
    start_driver(*transport, kFeatures, {&rx, &tx, &event});
    for (uint16_t i = 0; i < receive_buffers; ++i) offer_receive_buffer(i);
    event.describe(0, {kEventData, 8, kWrite});
    event.offer(0);
    kick(rx, 0, 0);
    kick(event, 2, 0);
  }
  ~VsockGuestOn() {
    if (transport) transport->pause();
    transport.reset();
  }

  // Ends the device. The rings are as in new memory.
  Ground leave() {
    transport->pause();
    settle();
    transport.reset();
    for (MockRing* ring : {&rx, &tx, &event}) ring->clear();
    return {std::move(memory), std::move(loop)};
  }

  // A new device, in place of the one there is.
  void renew(vmm::VsockLimits limits) {
    this->put(memory, *loop, std::make_unique<vmm::VsockDevice>(*loop, limits), base::LogSink());
  }
  vmm::VsockDevice& device() { return static_cast<vmm::VsockDevice&>(transport->device()); }

  void settle() {
    for (int i = 0; i < 6; ++i) loop->run_once(std::chrono::milliseconds(0));
  }

  void offer_receive_buffer(uint16_t index) {
    rx.describe(index, {kRxData + index * uint64_t{kBufferBytes}, kBufferBytes, kWrite});
    rx.offer(index);
  }
  void give_back(uint16_t index) {
    offer_receive_buffer(index);
    kick(rx, 0, static_cast<uint16_t>(rx.next_available - 1));
  }

  // A packet as an honest driver would send it; break the header for a less honest one.
  static vmm::VsockHeader header(vmm::VsockOp op, uint32_t guest_port, uint32_t host_port) {
    vmm::VsockHeader header;
    header.src_cid = vmm::VsockDevice::kGuestCid;
    header.dst_cid = vmm::kHostCid;
    header.src_port = guest_port;
    header.dst_port = host_port;
    header.type = vmm::kVsockTypeStream;
    header.op = static_cast<uint16_t>(op);
    header.buf_alloc = 64 * 1024;
    return header;
  }
  void send(vmm::VsockHeader header, std::string_view data = {}) {
    if (header.len == 0) header.len = static_cast<uint32_t>(data.size());
    const uint64_t at = kTxData + tx_slot_ * uint64_t{8192};
    (void)memory.write(at, header);
    if (!data.empty()) {
      (void)memory.write_bytes(at + 100, std::as_bytes(std::span(data.data(), data.size())));
    }
    std::vector<Descriptor> buffers = {{at, 20}, {at + 20, vmm::kVsockHeaderBytes - 20}};
    if (!data.empty()) buffers.push_back({at + 100, static_cast<uint32_t>(data.size())});
    send_chain(buffers);
  }
  void send(vmm::VsockOp op, uint32_t guest_port, uint32_t host_port, std::string_view data = {}) {
    send(header(op, guest_port, host_port), data);
  }
  void send_chain(std::vector<Descriptor> buffers) {
    const auto head = static_cast<uint16_t>(4 * tx_slot_);
    tx_slot_ = static_cast<uint16_t>((tx_slot_ + 1) % 4);
    tx.describe_chain(head, std::move(buffers));
    tx.offer(head);
    kick(tx, 1, static_cast<uint16_t>(tx.next_available - 1));
    while (tx.take_used()) {
    }
  }

  // The next packet the device sent; its buffer goes back to the device unless told not to.
  std::optional<VsockPacket> take_packet(bool keep_buffer = false) {
    const auto used = rx.take_used();
    if (!used) return std::nullopt;
    vmm::VsockHeader in;
    const uint64_t at = kRxData + used->id * uint64_t{kBufferBytes};
    (void)memory.read(at, in);
    if (used->length != vmm::kVsockHeaderBytes + in.len) std::abort();
    const auto buffer = static_cast<uint16_t>(used->id);
    VsockPacket packet{.op = static_cast<vmm::VsockOp>(in.op),
                       .type = in.type,
                       .src_cid = in.src_cid,
                       .src_port = in.src_port,
                       .dst_port = in.dst_port,
                       .flags = in.flags,
                       .buf_alloc = in.buf_alloc,
                       .fwd_cnt = in.fwd_cnt,
                       .buffer = buffer,
                       .data = std::string(in.len, 0)};
    if (in.len > 0) {
      (void)memory.read_bytes(at + vmm::kVsockHeaderBytes,
                              std::as_writable_bytes(std::span(packet.data)));
    }
    if (!keep_buffer) give_back(buffer);
    return packet;
  }
  // The same, letting the device work until there is one.
  std::optional<VsockPacket> wait_packet() {
    std::optional<VsockPacket> packet;
    (void)run_until(*loop, [&] { return (packet = take_packet()).has_value(); });
    return packet;
  }

  void kick(MockRing& ring, uint16_t queue, uint16_t old_available) {
    const uint16_t event_index = ring.kick_event();
    if (static_cast<uint16_t>(ring.next_available - event_index - 1) <
        static_cast<uint16_t>(ring.next_available - old_available)) {
      transport->kick(queue);
    }
  }

  vmm::GuestMemory memory;
  std::unique_ptr<sys::Loop> loop;
  MockRing rx{memory, 0x10000, kSize};
  MockRing tx{memory, 0x20000, kSize};
  MockRing event{memory, 0x30000, kSize};

 private:
  uint16_t tx_slot_ = 0;
};
using VsockGuest = VsockGuestOn<OnMmio>;

}  // namespace microvm::test
