// virtio-rng (virtio 1.2 §5.4): bytes of the host kernel's generator. Nothing to configure or save.
#pragma once

#include "vmm/virtio/device.hpp"

namespace microvm::vmm {

class RngDevice final : public Device {
 public:
  static constexpr DeviceKind kKind{DeviceType::rng, "rng", 1, 1};
  // Longer buffers are filled in part; the driver asks again.
  static constexpr uint32_t kMaxBytesPerRequest = 4096;

  [[nodiscard]] const DeviceKind& kind() const override { return kKind; }
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override;
  [[nodiscard]] uint64_t features() const override { return 0; }
  [[nodiscard]] std::span<const std::byte> config() const override { return {}; }
  void activate(DeviceHost& host) override { host_ = &host; }
  void process(uint16_t queue) override;
  void reset() override { host_ = nullptr; }

 private:
  DeviceHost* host_ = nullptr;
  Chain chain_;
};

}  // namespace microvm::vmm
