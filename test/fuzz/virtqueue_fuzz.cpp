// A hostile driver: registers, rings, buffers and kicks of a block and an rng device as the input
// says. Both share one guest memory, so one may write into the other's rings.
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "vmm/virtio/block.hpp"
#include "vmm/virtio/mmio_registers.hpp"
#include "vmm/virtio/mmio_transport.hpp"
#include "vmm/virtio/rng.hpp"
#include "wire/bytes.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kUsedMemory = 0x8000;  // what the input reaches; rings and most buffers

struct NoIrq final : Irq {
  void raise() noexcept override {}
};

base::Fd make_file(uint64_t bytes) {
  base::Fd file(::memfd_create("fuzz", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) std::abort();
  return file;
}

base::Fd reopen_read_only(const base::Fd& file) {
  return base::Fd(::open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_RDONLY));
}

class Machine {
 public:
  Machine() {
    std::vector<base::Fd> files;
    files.push_back(reopen_read_only(base_));
    files.push_back(make_file(0));
    auto disk = DiskStack::open(*loop_, std::move(files), {});
    if (!disk) std::abort();
    std::memset(memory_.translate(0, kUsedMemory), 0, kUsedMemory);
    add(std::make_unique<BlockDevice>(std::move(*disk), WhenFull::fail, "fuzz", nullptr));
    add(std::make_unique<RngDevice>());
  }
  ~Machine() { drain(); }

  void run(wire::ByteReader& in) {
    while (in.ok() && in.left() > 0) {
      step(in);
    }
  }

 private:
  void add(std::unique_ptr<Device> device) {
    auto& added = transports_.emplace_back(
        std::make_unique<MmioTransport>(memory_, *loop_, irq_, std::move(device), nullptr));
    const uint64_t base = 0x2000 * (transports_.size() - 1);
    start(*added, base);
  }

  void write(MmioTransport& transport, uint64_t offset, uint32_t value) {
    transport.write(offset, std::as_bytes(std::span(&value, 1)));
  }

  void start(MmioTransport& transport, uint64_t base) {
    using namespace mmio;
    write(transport, kStatus, kAcknowledge | kDriver);
    write(transport, kDriverFeaturesSel, 0);
    write(transport, kDriverFeatures,
          static_cast<uint32_t>(kFeatureIndirectDesc | kFeatureEventIdx));
    write(transport, kDriverFeaturesSel, 1);
    write(transport, kDriverFeatures, 1);
    write(transport, kStatus, kAcknowledge | kDriver | kFeaturesOk);
    write(transport, kQueueSize, 16);
    write(transport, kQueueDescLow, static_cast<uint32_t>(base));
    write(transport, kQueueDriverLow, static_cast<uint32_t>(base + 0x100));
    write(transport, kQueueDeviceLow, static_cast<uint32_t>(base + 0x200));
    write(transport, kQueueReady, 1);
    write(transport, kStatus, kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
  }

  void step(wire::ByteReader& in) {
    const auto command = in.get<uint8_t>();
    MmioTransport& transport = *transports_[command & 1];
    switch (command >> 1 & 7) {
      case 0:
      case 1: {
        const uint64_t address = in.get<uint16_t>() % kUsedMemory;
        const wire::ByteView bytes = in.get_bytes(in.get<uint8_t>());
        if (!bytes.empty()) (void)memory_.write_bytes(address, bytes);
        break;
      }
      case 2:
      case 3:
        transport.kick(static_cast<uint16_t>(command >> 4 & 1));
        break;
      case 4:
        loop_->run_once(std::chrono::milliseconds(0));
        break;
      case 5: {
        const auto offset = in.get<uint16_t>();
        drain();  // a reset waits for I/O, and here nobody else runs the loop
        write(transport, offset % 0x200, in.get<uint32_t>());
        break;
      }
      case 6: {
        std::byte value[8];
        transport.read(in.get<uint8_t>() * 4, std::span(value).first(1u << (command >> 4 & 3)));
        break;
      }
      default:
        transport.pause();
        transport.resume();
    }
  }

  void drain() {
    while (loop_->io_in_flight() > 0) {
      loop_->run_once(std::chrono::milliseconds(1));
    }
    for (int i = 0; i < 4; ++i) {
      loop_->run_once(std::chrono::milliseconds(0));
    }
  }

  static inline GuestMemory memory_ = [] {
    auto memory = GuestMemory::reserve(2u << 20);
    if (!memory || !memory->back_with_zeros()) std::abort();
    return std::move(*memory);
  }();
  static inline const base::Fd base_ = make_file(1u << 20);
  static inline const std::unique_ptr<sys::Loop> loop_ =
      std::move(*sys::Loop::create(sys::Loop::Backend::plain));
  NoIrq irq_;
  std::vector<std::unique_ptr<MmioTransport>> transports_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  wire::ByteReader in(std::as_bytes(std::span(data, size)));
  Machine machine;
  machine.run(in);
  return 0;
}
