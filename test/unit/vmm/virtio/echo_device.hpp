// A small device for the transport's tests: one queue whose chains it answers at once or, when
// `hold` is set, when the test says so; a second one whose buffers it leaves alone.
#pragma once

#include <deque>

#include "vmm/virtio/device.hpp"

namespace microvm::test {

class EchoDevice final : public vmm::Device {
 public:
  static constexpr uint64_t kFeature = 1u << 3;
  static constexpr vmm::DeviceKind kKind{vmm::DeviceType::rng, "rng", 2, 1};

  [[nodiscard]] const vmm::DeviceKind& kind() const override { return kKind; }
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override { return sizes_; }
  [[nodiscard]] uint64_t features() const override { return kFeature; }
  [[nodiscard]] std::span<const std::byte> config() const override { return config_; }
  void activate(vmm::DeviceHost& host_) override {
    host = &host_;
    ++activations;
  }
  void reset() override { ++resets; }

  void process(uint16_t queue) override {
    ++process_calls;
    if (queue == 1) return;
    while (host->pop(queue, chain_)) {
      ++popped;
      if (hold) {
        held.push_back(chain_.head);
      } else {
        host->push(queue, chain_.head, 1);
      }
    }
  }

  // From the loop, as an I/O completion would come.
  void release_all() {
    const auto guard = host->lock();
    while (!held.empty()) {
      host->push(0, held.front(), 1);
      host->publish_soon(0);
      held.pop_front();
    }
  }

  [[nodiscard]] wire::Bytes save() const override { return wire::Bytes(1, std::byte{42}); }
  [[nodiscard]] Result<void> restore(wire::ByteView body) override {
    if (body.size() == 1 && body[0] == std::byte{42}) return {};
    return base::fail(ErrorCode::corrupt, "echo state");
  }

  vmm::DeviceHost* host = nullptr;
  bool hold = false;
  std::deque<uint16_t> held;
  int popped = 0;
  int process_calls = 0;
  int activations = 0;
  int resets = 0;

 private:
  std::array<uint16_t, 2> sizes_{8, 4};
  std::array<std::byte, 6> config_{std::byte{1}, std::byte{2}, std::byte{3},
                                   std::byte{4}, std::byte{5}, std::byte{6}};
  vmm::Chain chain_;
};

}  // namespace microvm::test
