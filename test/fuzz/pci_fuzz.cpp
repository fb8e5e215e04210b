// A hostile driver on PCI: configuration space, BAR, MSI-X table and registers of two functions on
// one bus, accesses of any width at any place, resets and restores in between.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "vmm/virtio/pci_transport.hpp"
#include "vmm/virtio/rng.hpp"
#include "wire/bytes.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kUsedMemory = 0x8000;  // what the input reaches
constexpr uint32_t kFunctions = 2;
constexpr uint32_t kAddress = 0xd100'8000;

// What is raised has been routed before, to what stands in the table.
class CheckedInterrupts final : public MessageInterrupts {
 public:
  void route(uint16_t vector, const MsiMessage&) override { routed_ |= uint64_t{1} << vector; }
  void raise(uint16_t vector) noexcept override {
    if ((routed_ >> vector & 1) == 0) std::abort();
  }

 private:
  uint64_t routed_ = 0;
};

class Machine {
 public:
  Machine() {
    std::memset(memory_.translate(0, kUsedMemory), 0, kUsedMemory);
    bus_.add(0, bridge_);
    for (uint32_t i = 0; i < kFunctions; ++i) renew(i);
  }
  ~Machine() { settle(); }

  void run(wire::ByteReader& in) {
    while (in.ok() && in.left() > 0) step(in);
  }

 private:
  void renew(uint32_t index) {
    auto& transport = transports_[index];
    transport.reset();
    irqs_[index] = std::make_unique<CheckedInterrupts>();
    transport = std::make_unique<PciTransport>(memory_, *loop_, *irqs_[index], kAddress,
                                               std::make_unique<RngDevice>(), nullptr);
    bus_.add(index + 1, *transport);
  }

  // An access of 1, 2, 4 or 8 bytes.
  template <class Read, class Write>
  static void access(wire::ByteReader& in, Read read, Write write) {
    const auto kind = in.get<uint8_t>();
    std::array<std::byte, 8> value{};
    const auto data = std::span(value).first(size_t{1} << (kind & 3));
    if ((kind & 4) != 0) return read(data);
    std::ranges::copy(in.get_bytes(data.size()), data.begin());
    write(data);
  }

  void access_bus(wire::ByteReader& in) {
    const uint64_t offset = in.get<uint8_t>() % 4u << 15 | in.get<uint16_t>();
    access(
        in, [&](std::span<std::byte> data) { bus_.read(offset, data); },
        [&](std::span<const std::byte> data) { bus_.write(offset, data); });
  }

  void access_registers(PciTransport& transport, wire::ByteReader& in) {
    // the pages that have registers, and little of each
    const uint64_t offset = in.get<uint8_t>() % 8 * pci::kPage + in.get<uint8_t>() % 0x80;
    access(
        in, [&](std::span<std::byte> data) { transport.read(offset, data); },
        [&](std::span<const std::byte> data) { transport.write(offset, data); });
  }

  void save_and_restore(uint32_t index, uint8_t flipped) {
    transports_[index]->pause();
    settle();
    state::Writer out;
    if (!transports_[index]->save(out, 0)) return transports_[index]->resume();
    wire::Bytes bytes = out.finish();
    const auto in = state::Reader::parse(bytes);
    if (!in) std::abort();
    renew(index);
    if (!transports_[index]->restore(*in, 0)) std::abort();
    transports_[index]->resume();
    restore_damaged(*in, flipped);
  }

  // Refused or bounded, with one byte of PCI's section another one.
  void restore_damaged(const state::Reader& good, uint8_t flipped) {
    state::Writer out;
    for (const auto id : {state::SectionId::virtio_transport, state::SectionId::virtio_pci,
                          state::SectionId::virtio_rng}) {
      const auto section = good.find(id, 0, UINT16_MAX);
      if (!section) std::abort();
      wire::Bytes body(section->body.begin(), section->body.end());
      const size_t at = size_t{flipped} * 2 % std::max<size_t>(body.size(), 1);
      if (id == state::SectionId::virtio_pci) body[at] ^= std::byte{flipped};
      out.add(id, 0, section->version, std::move(body));
    }
    const wire::Bytes bytes = out.finish();
    const auto in = state::Reader::parse(bytes);
    CheckedInterrupts irq;
    PciTransport other(memory_, *loop_, irq, kAddress, std::make_unique<RngDevice>(), nullptr);
    if (in && other.restore(*in, 0)) other.resume();
    settle();
  }

  void step(wire::ByteReader& in) {
    const auto command = in.get<uint8_t>();
    const uint32_t index = command & 1;
    PciTransport& transport = *transports_[index];
    switch (command >> 1 & 7) {
      case 0: {
        const uint64_t address = in.get<uint16_t>() % kUsedMemory;
        const wire::ByteView bytes = in.get_bytes(in.get<uint8_t>());
        if (!bytes.empty()) (void)memory_.write_bytes(address, bytes);
        break;
      }
      case 1:
      case 2:
        access_bus(in);
        break;
      case 3:
      case 4:
        access_registers(transport, in);
        break;
      case 5:
        transport.kick(static_cast<uint16_t>(command >> 4 & 1));
        break;
      case 6:
        loop_->run_once(std::chrono::milliseconds(0));
        break;
      default:
        save_and_restore(index, in.get<uint8_t>());
    }
  }

  static void settle() {
    for (int i = 0; i < 4; ++i) loop_->run_once(std::chrono::milliseconds(0));
  }

  static inline GuestMemory memory_ = [] {
    auto memory = GuestMemory::reserve(2u << 20);
    if (!memory || !memory->back_with_zeros()) std::abort();
    return std::move(*memory);
  }();
  static inline const std::unique_ptr<sys::Loop> loop_ =
      std::move(*sys::Loop::create(sys::Loop::Backend::plain));
  PciBus bus_;
  HostBridge bridge_;
  std::array<std::unique_ptr<CheckedInterrupts>, kFunctions> irqs_;
  std::array<std::unique_ptr<PciTransport>, kFunctions> transports_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  wire::ByteReader in(std::as_bytes(std::span(data, size)));
  Machine machine;
  machine.run(in);
  return 0;
}
