// One PCI bus as its ECAM window shows it (PCI Express 5.0 §7.2.2): a page of configuration space
// for each function. Absent functions read as all ones.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "vmm/virtio/pci_config_space.hpp"

namespace microvm::vmm {

class PciFunction {
 public:
  virtual ~PciFunction() = default;
  // Accesses of any width at any place, on any vCPU thread.
  virtual void config_read(uint32_t offset, std::span<std::byte> data) = 0;
  virtual void config_write(uint32_t offset, std::span<const std::byte> data) = 0;
};

// What stands at device 0 for those who look there; a guest cannot change anything of it.
class HostBridge final : public PciFunction {
 public:
  HostBridge();
  void config_read(uint32_t offset, std::span<std::byte> data) override;
  void config_write(uint32_t, std::span<const std::byte>) override {}

 private:
  PciConfigSpace config_;
};

class PciBus {
 public:
  static constexpr uint32_t kDevices = 32;
  static constexpr uint64_t kWindowBytes = uint64_t{1} << 20;

  // Function 0 of the device, which lives longer. Before the guest runs.
  void add(uint32_t device, PciFunction& function) { functions_[device] = &function; }

  // Accesses to the window, on any vCPU thread.
  void read(uint64_t offset, std::span<std::byte> data) const;
  void write(uint64_t offset, std::span<const std::byte> data) const;

 private:
  [[nodiscard]] PciFunction* function_at(uint64_t offset) const;
  std::array<PciFunction*, kDevices> functions_{};
};

}  // namespace microvm::vmm
