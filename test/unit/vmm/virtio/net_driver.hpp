// A network device's driver: a guest that sends frames and gives buffers for others.
#pragma once

#include <sys/socket.h>

#include "vmm/virtio/frames.hpp"
#include "vmm/virtio/mock_driver.hpp"
#include "vmm/virtio/net.hpp"

namespace microvm::test {

using vmm::NetDevice;
using vmm::NetHeader;

inline constexpr uint64_t kFrames = 0x100000;   // one page per descriptor of the guest
inline constexpr uint64_t kBuffers = 0x200000;  // likewise, for the guest
inline constexpr uint64_t kControls = 0x300000;
inline constexpr uint64_t kOffloads = vmm::kNetCsum | vmm::kNetGuestCsum | vmm::kNetGuestTso4 |
                                      vmm::kNetHostTso4 | vmm::kNetMergedBuffers;
inline constexpr uint64_t kBasic = vmm::kFeatureVersion1 | vmm::kFeatureEventIdx | vmm::kNetStatus;

template <class On>
struct NetDriver {
  explicit NetDriver(uint64_t features) : agreed(features) {}
  void put(std::unique_ptr<NetDevice> made) {
    net = made.get();
    on.put(memory, *loop, std::move(made), [this](auto, auto line) { log.emplace_back(line); });
  }
  void start() { start_driver(*on.transport, agreed, {&rx, &tx, &control}); }
  // Of the guest: header, frame; cut where the test says.
  void send(const FrameBytes& frame, NetHeader header = {}, uint32_t cut = 0) {
    const auto head = static_cast<uint16_t>((tx.next_available * 3) % 240);
    const uint64_t at = kFrames + head * 4096ul;
    (void)memory.write(at, header);
    (void)memory.write_bytes(at + 12, frame);
    const auto size = static_cast<uint32_t>(12 + frame.size());
    if (cut == 0) {
      tx.describe_chain(head, {{at, size}});
    } else {
      tx.describe_chain(head, {{at, cut}, {at + cut, size - cut}});
    }
    tx.set_interrupt_event(tx.seen_used);
    tx.offer(head);
  }
  void kick_tx() { on.transport->kick(NetDevice::kTxQueue); }
  size_t sent() {
    size_t count = 0;
    while (tx.take_used()) ++count;
    return count;
  }
  void give(uint32_t bytes, int count = 1) {
    for (; count > 0; --count) {
      const auto head = static_cast<uint16_t>(rx.next_available % 256);
      rx.describe(head, {kBuffers + head * 4096ul, bytes, kWrite});
      rx.offer(head);
    }
    rx.set_interrupt_event(rx.seen_used);
  }
  void kick_rx() { on.transport->kick(NetDevice::kRxQueue); }
  void turn() {
    for (int i = 0; i < 4; ++i) loop->run_once(std::chrono::milliseconds(0));
  }
  // The frame that the guest got next, and its header.
  FrameBytes received(NetHeader* header = nullptr) {
    FrameBytes all;
    NetHeader seen;
    for (uint16_t left = 1; left > 0; --left) {
      const auto used = rx.take_used();
      if (!used) return {};
      FrameBytes part(used->length);
      (void)memory.read_bytes(kBuffers + used->id * 4096ul, part);
      if (all.empty() && part.size() >= sizeof seen) {
        std::memcpy(&seen, part.data(), sizeof seen);
        left = seen.num_buffers;
      }
      all.insert(all.end(), part.begin(), part.end());
    }
    if (header != nullptr) *header = seen;
    all.erase(all.begin(), all.begin() + 12);
    return all;
  }
  template <class T>
  T config(uint64_t offset) {
    T value{};
    const bool pci = dynamic_cast<vmm::PciTransport*>(on.transport.get()) != nullptr;
    on.transport->read((pci ? uint64_t{vmm::pci::kDeviceAt} : vmm::mmio::kConfig) + offset,
                       std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  wire::NetCounters counters() { return net->counters(); }

  uint64_t agreed;
  std::vector<std::string> log;
  vmm::GuestMemory memory = make_memory();
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  On on;
  NetDevice* net = nullptr;
  MockRing rx{memory, 0x10000, 256};
  MockRing tx{memory, 0x20000, 256};
  MockRing control{memory, 0x30000, 64};
};

inline FrameBytes numbered(size_t bytes) {
  FrameBytes frame(bytes);
  for (size_t i = 0; i < bytes; ++i) frame[i] = static_cast<std::byte>(i * 7 + i / 251);
  return frame;
}

}  // namespace microvm::test
