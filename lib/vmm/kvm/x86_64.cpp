#include "vmm/kvm/x86_64.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "vmm/kvm/ioctl.hpp"

namespace microvm::vmm::kvm {
namespace {

// <linux/kvm.h> of Linux 6.1 declares flexible arrays in a way that makes these structs, and with
// them the request numbers, too large in C++. So both are spelt out here.
struct CountHeader {
  uint32_t count = 0;
  uint32_t padding = 0;
};
constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, uint32_t);
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, CountHeader);
constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, CountHeader);
constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, CountHeader);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, CountHeader);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, CountHeader);

constexpr size_t kMinXsaveBytes = 4096;
struct MinXsave {
  std::byte bytes[kMinXsaveBytes];
};
constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, MinXsave);
constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, MinXsave);
constexpr unsigned long kGetXsave2 = _IOR(KVMIO, 0xcf, MinXsave);

// The structs without flexible arrays are as they should be.
static_assert(sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_sregs) == 312);
static_assert(sizeof(kvm_irqchip) == 520 && sizeof(kvm_lapic_state) == 1024);
static_assert(sizeof(kvm_irq_routing_entry) == 48);
static_assert(sizeof(kvm_xcrs) == 392 && sizeof(kvm_vcpu_events) == 64);

// A KVM struct that is a header and `count` entries behind it.
template <class Header, class Entry>
class Table {
 public:
  explicit Table(size_t count) : storage_(sizeof(Header) + count * sizeof(Entry)) {
    const auto number = static_cast<uint32_t>(count);
    std::memcpy(storage_.data(), &number, sizeof number);
  }
  [[nodiscard]] void* data() { return storage_.data(); }
  [[nodiscard]] uint32_t count() const {
    uint32_t number = 0;
    std::memcpy(&number, storage_.data(), sizeof number);
    return number;
  }
  [[nodiscard]] Entry* entries() {
    return reinterpret_cast<Entry*>(storage_.data() + sizeof(Header));
  }
  void fill(std::span<const Entry> from) {
    if (!from.empty()) std::memcpy(entries(), from.data(), from.size_bytes());
  }

 private:
  static_assert(sizeof(Header) % alignof(Entry) == 0);
  std::vector<std::byte> storage_;
};
using CpuidBuffer = Table<CountHeader, kvm_cpuid_entry2>;
using MsrBuffer = Table<CountHeader, kvm_msr_entry>;
using RoutingTable = Table<CountHeader, kvm_irq_routing_entry>;
using MsrIndexBuffer = Table<uint32_t, uint32_t>;

constexpr std::array kNeededOfX86 = {
    Needed{KVM_CAP_EXT_CPUID, "ext_cpuid"}, Needed{KVM_CAP_DEBUGREGS, "debugregs"},
    Needed{KVM_CAP_XSAVE, "xsave"},         Needed{KVM_CAP_XCRS, "xcrs"},
    Needed{KVM_CAP_ADJUST_CLOCK, "clock"},
};

constexpr size_t kMaxCpuid = 256;  // KVM_MAX_CPUID_ENTRIES
constexpr size_t kMaxMsrs = 1024;  // 6.12 lists about 120 on AMD and 250 on Intel
constexpr uint32_t kTscMsr = 0x10, kCapabilitiesMsr = 0x10a;

kvm_device_attr tsc_offset_at(uint64_t& place) {
  return {.flags = 0,
          .group = KVM_VCPU_TSC_CTRL,
          .attr = KVM_VCPU_TSC_OFFSET,
          .addr = reinterpret_cast<uint64_t>(&place)};
}

kvm_irq_routing_entry pin_route(uint32_t gsi, uint32_t chip, uint32_t pin) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.u.irqchip = {.irqchip = chip, .pin = pin};
  return entry;
}

kvm_irq_routing_entry message_route(const X86Vm::MessageRoute& route) {
  kvm_irq_routing_entry entry{};
  entry.gsi = route.gsi;
  entry.type = KVM_IRQ_ROUTING_MSI;
  entry.u.msi.address_lo = static_cast<uint32_t>(route.address);
  entry.u.msi.address_hi = static_cast<uint32_t>(route.address >> 32);
  entry.u.msi.data = route.data;
  return entry;
}

// As KVM makes them with the chips: each pin to the IOAPIC, and the first sixteen to the 8259s too.
std::vector<kvm_irq_routing_entry> chip_routes() {
  constexpr uint32_t kPicPins = 8;
  std::vector<kvm_irq_routing_entry> routes;
  for (uint32_t gsi = 0; gsi < X86Vm::kFirstMessageGsi; ++gsi) {
    routes.push_back(pin_route(gsi, KVM_IRQCHIP_IOAPIC, gsi));
    if (gsi >= 2 * kPicPins) continue;
    const uint32_t chip = gsi < kPicPins ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
    routes.push_back(pin_route(gsi, chip, gsi % kPicPins));
  }
  return routes;
}

}  // namespace

X86Limits X86Limits::of_host(int dev_kvm) {
  constexpr int kSyncMask = KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS;
  const int xsave_bytes = call(dev_kvm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
  const int synced = call(dev_kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
  return {.xsave_bytes = static_cast<size_t>(std::max<int>(xsave_bytes, kMinXsaveBytes)),
          .sync_regs = (synced & kSyncMask) == kSyncMask};
}

Result<void> X86Host::read_host(int dev_kvm) {
  if (auto ok = check_capabilities(dev_kvm, kNeededOfX86); !ok) return ok;
  has_tsc_deadline_ = call(dev_kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  if (auto ok = read_cpuid(dev_kvm); !ok) return ok;
  read_arch_capabilities(dev_kvm);
  return read_msr_indices(dev_kvm);
}

Result<void> X86Host::read_cpuid(int dev_kvm) {
  CpuidBuffer table(kMaxCpuid);
  if (call(dev_kvm, kGetSupportedCpuid, table.data()) < 0) {
    return base::fail_errno("KVM_GET_SUPPORTED_CPUID");
  }
  const size_t count = std::min<size_t>(table.count(), kMaxCpuid);
  cpuid_.assign(table.entries(), table.entries() + count);
  return {};
}

Result<void> X86Host::read_msr_indices(int dev_kvm) {
  MsrIndexBuffer table(kMaxMsrs);
  if (call(dev_kvm, kGetMsrIndexList, table.data()) < 0) {
    return base::fail_errno("KVM_GET_MSR_INDEX_LIST");
  }
  const size_t count = std::min<size_t>(table.count(), kMaxMsrs);
  msr_indices_.assign(table.entries(), table.entries() + count);
  return {};
}

// A KVM that gives no features of MSRs (KVM_CAP_GET_MSR_FEATURES) refuses the call.
void X86Host::read_arch_capabilities(int dev_kvm) {
  MsrBuffer table(1);
  const kvm_msr_entry wanted{.index = kCapabilitiesMsr, .reserved = 0, .data = 0};
  table.fill({&wanted, 1});
  if (call(dev_kvm, kGetMsrs, table.data()) == 1) arch_capabilities_ = table.entries()->data;
}

Result<void> X86Vm::set_private_addresses(uint64_t tss, uint64_t identity_map) {
  if (auto ok =
          check(fd_.get(), KVM_SET_IDENTITY_MAP_ADDR, &identity_map, "KVM_SET_IDENTITY_MAP_ADDR");
      !ok) {
    return ok;
  }
  return check(fd_.get(), KVM_SET_TSS_ADDR, tss, "KVM_SET_TSS_ADDR");
}

Result<void> X86Vm::create_interrupt_chips() {
  return check(fd_.get(), KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP");
}

Result<kvm_irqchip> X86Vm::interrupt_chip(uint32_t chip) const {
  kvm_irqchip out{};
  out.chip_id = chip;
  if (call(fd_.get(), KVM_GET_IRQCHIP, &out) < 0) return base::fail_errno("KVM_GET_IRQCHIP");
  return out;
}

Result<void> X86Vm::set_interrupt_chip(const kvm_irqchip& chip) {
  return check(fd_.get(), KVM_SET_IRQCHIP, &chip, "KVM_SET_IRQCHIP");
}

Result<void> X86Vm::send_message(uint64_t address, uint32_t data) {
  kvm_msi message{};
  message.address_lo = static_cast<uint32_t>(address);
  message.address_hi = static_cast<uint32_t>(address >> 32);
  message.data = data;
  return check(fd_.get(), KVM_SIGNAL_MSI, &message, "KVM_SIGNAL_MSI");
}

Result<void> X86Vm::set_message_routes(std::span<const MessageRoute> routes) {
  std::vector<kvm_irq_routing_entry> entries = chip_routes();
  for (const MessageRoute& route : routes) entries.push_back(message_route(route));
  RoutingTable table(entries.size());
  table.fill(entries);
  return check(fd_.get(), kSetGsiRouting, table.data(), "KVM_SET_GSI_ROUTING");
}

Result<uint64_t> X86Vm::clock_ns() const {
  const auto data = fetch<kvm_clock_data>(fd_.get(), KVM_GET_CLOCK, "KVM_GET_CLOCK");
  if (!data) return base::fail(data.error());
  return data->clock;
}

Result<void> X86Vm::set_clock_ns(uint64_t ns) {
  kvm_clock_data data{};
  data.clock = ns;
  return check(fd_.get(), KVM_SET_CLOCK, &data, "KVM_SET_CLOCK");
}

Result<kvm_regs> X86Vcpu::regs() const {
  return fetch<kvm_regs>(fd_.get(), KVM_GET_REGS, "KVM_GET_REGS");
}

Result<void> X86Vcpu::set_regs(const kvm_regs& regs) {
  return check(fd_.get(), KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

Result<kvm_sregs> X86Vcpu::sregs() const {
  return fetch<kvm_sregs>(fd_.get(), KVM_GET_SREGS, "KVM_GET_SREGS");
}

Result<void> X86Vcpu::set_sregs(const kvm_sregs& sregs) {
  return check(fd_.get(), KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
}

Result<kvm_vcpu_events> X86Vcpu::events() const {
  return fetch<kvm_vcpu_events>(fd_.get(), KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS");
}

Result<void> X86Vcpu::set_events(const kvm_vcpu_events& events) {
  return check(fd_.get(), KVM_SET_VCPU_EVENTS, &events, "KVM_SET_VCPU_EVENTS");
}

Result<void> X86Vcpu::set_regs_and_events_on_run(const kvm_regs& regs,
                                                 const kvm_vcpu_events& events) {
  if (limits_.sync_regs) {
    run_->s.regs.regs = regs;
    run_->s.regs.events = events;
    run_->kvm_dirty_regs |= KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS;
    return {};
  }
  if (auto ok = set_regs(regs); !ok) return ok;
  return set_events(events);
}

Result<kvm_debugregs> X86Vcpu::debugregs() const {
  return fetch<kvm_debugregs>(fd_.get(), KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS");
}

Result<void> X86Vcpu::set_debugregs(const kvm_debugregs& debugregs) {
  return check(fd_.get(), KVM_SET_DEBUGREGS, &debugregs, "KVM_SET_DEBUGREGS");
}

Result<kvm_xcrs> X86Vcpu::xcrs() const {
  return fetch<kvm_xcrs>(fd_.get(), KVM_GET_XCRS, "KVM_GET_XCRS");
}

Result<void> X86Vcpu::set_xcrs(const kvm_xcrs& xcrs) {
  return check(fd_.get(), KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS");
}

// KVM writes and reads exactly xsave_bytes (KVM_CAP_XSAVE2), or 4096 without that capability.
Result<std::vector<std::byte>> X86Vcpu::xsave() const {
  std::vector<std::byte> image(limits_.xsave_bytes);
  const bool large = image.size() > kMinXsaveBytes;
  if (call(fd_.get(), large ? kGetXsave2 : kGetXsave, image.data()) < 0) {
    return base::fail_errno("KVM_GET_XSAVE");
  }
  return image;
}

Result<void> X86Vcpu::set_xsave(std::span<const std::byte> image) {
  if (image.size() > limits_.xsave_bytes) {
    return base::fail(ErrorCode::incompatible_cpu,
                      "xsave image of " + std::to_string(image.size()) + " bytes, this host has " +
                          std::to_string(limits_.xsave_bytes));
  }
  if (image.size() == limits_.xsave_bytes) {
    return check(fd_.get(), kSetXsave, image.data(), "KVM_SET_XSAVE");
  }
  std::vector<std::byte> padded(image.begin(), image.end());
  padded.resize(limits_.xsave_bytes);
  return check(fd_.get(), kSetXsave, padded.data(), "KVM_SET_XSAVE");
}

Result<kvm_lapic_state> X86Vcpu::lapic() const {
  return fetch<kvm_lapic_state>(fd_.get(), KVM_GET_LAPIC, "KVM_GET_LAPIC");
}

Result<void> X86Vcpu::set_lapic(const kvm_lapic_state& lapic) {
  return check(fd_.get(), KVM_SET_LAPIC, &lapic, "KVM_SET_LAPIC");
}

Result<kvm_mp_state> X86Vcpu::mp_state() const {
  return fetch<kvm_mp_state>(fd_.get(), KVM_GET_MP_STATE, "KVM_GET_MP_STATE");
}

Result<void> X86Vcpu::set_mp_state(kvm_mp_state state) {
  return check(fd_.get(), KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE");
}

Result<uint32_t> X86Vcpu::tsc_khz() const {
  const int khz = call(fd_.get(), KVM_GET_TSC_KHZ, 0);
  if (khz < 0) return base::fail_errno("KVM_GET_TSC_KHZ");
  return static_cast<uint32_t>(khz);
}

Result<void> X86Vcpu::set_tsc_khz(uint32_t khz) {
  auto done = check(fd_.get(), KVM_SET_TSC_KHZ, static_cast<unsigned long>(khz), "KVM_SET_TSC_KHZ");
  if (done) scales_tsc_ = khz != host_tsc_khz_;
  return done;
}

Result<uint64_t> X86Vcpu::tsc() const {
  kvm_msr_entry entry{.index = kTscMsr, .reserved = 0, .data = 0};
  const auto count = read_msrs({&entry, 1});
  if (!count) return base::fail(count.error());
  if (*count != 1) return base::fail(ErrorCode::unsupported, "this kvm does not tell the tsc");
  return uint64_t{entry.data};
}

Result<void> X86Vcpu::set_tsc(uint64_t value) {
  const kvm_msr_entry entry{.index = kTscMsr, .reserved = 0, .data = value};
  const auto count = write_msrs({&entry, 1});
  if (!count) return base::fail(count.error());
  if (*count == 1) return {};
  return base::fail(ErrorCode::unsupported, "this kvm does not set the tsc");
}

Result<uint64_t> X86Vcpu::tsc_offset() const {
  uint64_t offset = 0;
  const kvm_device_attr attribute = tsc_offset_at(offset);
  if (call(fd_.get(), KVM_GET_DEVICE_ATTR, &attribute) == 0) return offset;
  return base::fail(ErrorCode::unsupported, "this kvm has no tsc offsets");
}

Result<void> X86Vcpu::set_tsc_offset(uint64_t offset) {
  const kvm_device_attr attribute = tsc_offset_at(offset);
  if (call(fd_.get(), KVM_SET_DEVICE_ATTR, &attribute) == 0) return {};
  return base::fail(ErrorCode::unsupported, "this kvm has no tsc offsets");
}

Result<void> X86Vcpu::shift_tsc(uint64_t ticks) {
  const auto offset = tsc_offset();
  if (!offset) return base::fail(offset.error());
  return set_tsc_offset(*offset + ticks);
}

Result<size_t> X86Vcpu::read_msrs(std::span<kvm_msr_entry> entries) const {
  MsrBuffer table(entries.size());
  table.fill(entries);
  const int count = call(fd_.get(), kGetMsrs, table.data());
  if (count < 0) return base::fail_errno("KVM_GET_MSRS");
  std::copy_n(table.entries(), count, entries.begin());
  return static_cast<size_t>(count);
}

Result<size_t> X86Vcpu::write_msrs(std::span<const kvm_msr_entry> entries) {
  MsrBuffer table(entries.size());
  table.fill(entries);
  const int count = call(fd_.get(), kSetMsrs, table.data());
  if (count < 0) return base::fail_errno("KVM_SET_MSRS");
  return static_cast<size_t>(count);
}

Result<void> X86Vcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) {
  CpuidBuffer table(entries.size());
  table.fill(entries);
  return check(fd_.get(), kSetCpuid2, table.data(), "KVM_SET_CPUID2");
}

// EINVAL when the guest has no paravirtual clock; then there is nothing to tell.
void X86Vcpu::note_pause() noexcept {
  static_cast<void>(call(fd_.get(), KVM_KVMCLOCK_CTRL, 0));
}

}  // namespace microvm::vmm::kvm
