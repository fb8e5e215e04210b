#include <sys/mman.h>

#include "format.hpp"
#include "unit/vmm/platform/counting_irq.hpp"
#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"
#include "vmm/arch/x86_64/vm_state.hpp"
#include "vmm/platform/serial.hpp"
#include "vmm/virtio/block_state.hpp"
#include "vmm/virtio/transport_state.hpp"
#include "vmm/virtio/vsock/vsock_state.hpp"

namespace microvm::test {
namespace {

// A body whose type reads and writes itself.
template <class State>
Format body(std::string name, const State& sample) {
  return {.name = std::move(name),
          .good = sample.encode(),
          .read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
            const auto state = State::decode(bytes);
            if (!state) return base::fail(state.error());
            return state->encode();
          }};
}

Format vcpu() {
  vmm::x86_64::VcpuState sample;
  sample.regs.rip = 0x1234;
  sample.tsc_khz = 2'400'000;
  sample.xcrs.nr_xcrs = 1;
  sample.msrs = {{.index = 0x10, .reserved = 0, .data = 99},
                 {.index = 0xc0000082, .reserved = 0, .data = 7}};
  sample.xsave.resize(4096, std::byte{7});
  return {.name = "vcpu",
          .good = vmm::x86_64::encode(sample),
          .read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
            const auto state = vmm::x86_64::decode_vcpu(bytes);
            if (!state) return base::fail(state.error());
            return vmm::x86_64::encode(*state);
          }};
}

vmm::x86_64::VmState vm_state() {
  vmm::x86_64::VmState sample;
  for (uint32_t i = 0; i < sample.chips.size(); ++i) sample.chips.at(i).chip_id = i;
  sample.clock_ns = 12345;
  return sample;
}

Format chips() {
  return {.name = "interrupt chips",
          .good = vmm::x86_64::encode_chips(vm_state()),
          .read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
            const auto state = vmm::x86_64::decode_vm(bytes, vmm::x86_64::encode_clock(vm_state()));
            if (!state) return base::fail(state.error());
            return vmm::x86_64::encode_chips(*state);
          }};
}

Format clock() {
  return {.name = "clock",
          .good = vmm::x86_64::encode_clock(vm_state()),
          .read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
            const auto state = vmm::x86_64::decode_vm(vmm::x86_64::encode_chips(vm_state()), bytes);
            if (!state) return base::fail(state.error());
            return vmm::x86_64::encode_clock(*state);
          }};
}

Format cpuid() {
  wire::ByteWriter sample;
  sample.put(uint32_t{2});
  for (uint32_t field = 0; field < 14; ++field) sample.put(field);
  return {.name = "cpuid",
          .good = sample.take(),
          .read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
            const auto table = vmm::x86_64::CpuidTable::decode(bytes);
            if (!table) return base::fail(table.error());
            return table->encode();
          }};
}

Format serial() {
  const auto read = [](wire::ByteView bytes) -> Result<wire::Bytes> {
    CountingIrq irq;
    vmm::Serial port(irq, [](uint8_t) {});
    if (auto ok = port.restore(bytes); !ok) return base::fail(ok.error());
    return port.save();
  };
  CountingIrq irq;
  return {.name = "serial", .good = vmm::Serial(irq, [](uint8_t) {}).save(), .read = read};
}

vmm::TransportState transport() {
  vmm::TransportState sample;
  sample.device_type = 2;
  sample.status = 15;
  sample.queues = {
      {.size = 256, .ready = true, .descriptors = 0x1000, .available = 0x2000, .used = 0x3000}, {}};
  sample.positions = {{.next_available = 3, .next_used = 3}, {}};
  return sample;
}

}  // namespace

std::vector<Format> section_bodies() {
  return {vcpu(),
          cpuid(),
          chips(),
          clock(),
          serial(),
          body("virtio transport", transport()),
          body("virtio block", vmm::BlockState{.capacity_bytes = 8 << 20, .read_only = true}),
          body("virtio vsock", vmm::VsockState{.guest_cid = 3})};
}

}  // namespace microvm::test
