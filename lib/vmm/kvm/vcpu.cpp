#include "vmm/kvm/vcpu.hpp"

#include <sys/mman.h>

#include <atomic>
#include <utility>

#include "vmm/kvm/ioctl.hpp"

namespace microvm::vmm::kvm {
namespace {

constexpr uint32_t kTscMsr = 0x10;

}  // namespace

Result<Vcpu> Vcpu::create(base::Fd fd, VcpuLimits limits) {
  void* run = ::mmap(nullptr, limits.run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (run == MAP_FAILED) return base::fail_errno("map kvm_run");
  Vcpu vcpu(std::move(fd), limits, static_cast<kvm_run*>(run));
  vcpu.host_tsc_khz_ = vcpu.tsc_khz().value_or(0);
  return vcpu;
}

Vcpu::Vcpu(base::Fd fd, VcpuLimits limits, kvm_run* run)
    : fd_(std::move(fd)), limits_(limits), run_(run) {}

Vcpu::Vcpu(Vcpu&& other) noexcept
    : fd_(std::move(other.fd_)),
      limits_(other.limits_),
      run_(std::exchange(other.run_, nullptr)),
      host_tsc_khz_(other.host_tsc_khz_) {}

Vcpu& Vcpu::operator=(Vcpu&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(limits_, other.limits_);
  std::swap(run_, other.run_);
  std::swap(host_tsc_khz_, other.host_tsc_khz_);
  return *this;
}

Vcpu::~Vcpu() {
  if (run_ != nullptr) ::munmap(run_, limits_.run_bytes);
}

Exit Vcpu::run() {
  if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) return translate_exit();
  // EAGAIN: a vCPU that waits for its startup interrupt was woken by something else.
  if (errno == EINTR || errno == EAGAIN) return {.kind = Exit::Kind::interrupted, .detail = {}};
  return {.kind = Exit::Kind::failed, .detail = std::string("KVM_RUN: ") + strerrordesc_np(errno)};
}

// Both in the one order that all threads see: callers look at what they want of the vCPU next to
// it (VcpuThread::run_guest()), and a clearing that became visible only after such a look could
// wipe out a request that the look had missed.
void Vcpu::request_exit() noexcept {
  std::atomic_ref(run_->immediate_exit).store(1, std::memory_order_seq_cst);
}

void Vcpu::clear_exit_request() noexcept {
  std::atomic_ref(run_->immediate_exit).store(0, std::memory_order_seq_cst);
}

Result<void> Vcpu::complete_pending_access() {
  request_exit();
  const Exit exit = run();
  clear_exit_request();
  if (exit.kind == Exit::Kind::interrupted) return {};
  return base::fail(ErrorCode::internal, "KVM_RUN ran on although asked to return at once");
}

Result<kvm_regs> Vcpu::regs() const {
  return fetch<kvm_regs>(fd_.get(), KVM_GET_REGS, "KVM_GET_REGS");
}

Result<void> Vcpu::set_regs(const kvm_regs& regs) {
  return check(fd_.get(), KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

Result<kvm_sregs> Vcpu::sregs() const {
  return fetch<kvm_sregs>(fd_.get(), KVM_GET_SREGS, "KVM_GET_SREGS");
}

Result<void> Vcpu::set_sregs(const kvm_sregs& sregs) {
  return check(fd_.get(), KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
}

Result<kvm_vcpu_events> Vcpu::events() const {
  return fetch<kvm_vcpu_events>(fd_.get(), KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS");
}

Result<void> Vcpu::set_events(const kvm_vcpu_events& events) {
  return check(fd_.get(), KVM_SET_VCPU_EVENTS, &events, "KVM_SET_VCPU_EVENTS");
}

Result<void> Vcpu::set_regs_and_events_on_run(const kvm_regs& regs, const kvm_vcpu_events& events) {
  if (limits_.sync_regs) {
    run_->s.regs.regs = regs;
    run_->s.regs.events = events;
    run_->kvm_dirty_regs |= KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS;
    return {};
  }
  if (auto ok = set_regs(regs); !ok) return ok;
  return set_events(events);
}

Result<kvm_debugregs> Vcpu::debugregs() const {
  return fetch<kvm_debugregs>(fd_.get(), KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS");
}

Result<void> Vcpu::set_debugregs(const kvm_debugregs& debugregs) {
  return check(fd_.get(), KVM_SET_DEBUGREGS, &debugregs, "KVM_SET_DEBUGREGS");
}

Result<kvm_xcrs> Vcpu::xcrs() const {
  return fetch<kvm_xcrs>(fd_.get(), KVM_GET_XCRS, "KVM_GET_XCRS");
}

Result<void> Vcpu::set_xcrs(const kvm_xcrs& xcrs) {
  return check(fd_.get(), KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS");
}

// KVM writes and reads exactly xsave_bytes (KVM_CAP_XSAVE2), or 4096 without that capability.
Result<std::vector<std::byte>> Vcpu::xsave() const {
  std::vector<std::byte> image(limits_.xsave_bytes);
  const bool large = image.size() > kMinXsaveBytes;
  if (call(fd_.get(), large ? kGetXsave2 : kGetXsave, image.data()) < 0) {
    return base::fail_errno("KVM_GET_XSAVE");
  }
  return image;
}

Result<void> Vcpu::set_xsave(std::span<const std::byte> image) {
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

Result<kvm_lapic_state> Vcpu::lapic() const {
  return fetch<kvm_lapic_state>(fd_.get(), KVM_GET_LAPIC, "KVM_GET_LAPIC");
}

Result<void> Vcpu::set_lapic(const kvm_lapic_state& lapic) {
  return check(fd_.get(), KVM_SET_LAPIC, &lapic, "KVM_SET_LAPIC");
}

Result<kvm_mp_state> Vcpu::mp_state() const {
  return fetch<kvm_mp_state>(fd_.get(), KVM_GET_MP_STATE, "KVM_GET_MP_STATE");
}

Result<void> Vcpu::set_mp_state(kvm_mp_state state) {
  return check(fd_.get(), KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE");
}

Result<uint32_t> Vcpu::tsc_khz() const {
  const int khz = call(fd_.get(), KVM_GET_TSC_KHZ, 0);
  if (khz < 0) return base::fail_errno("KVM_GET_TSC_KHZ");
  return static_cast<uint32_t>(khz);
}

Result<void> Vcpu::set_tsc_khz(uint32_t khz) {
  return check(fd_.get(), KVM_SET_TSC_KHZ, static_cast<unsigned long>(khz), "KVM_SET_TSC_KHZ");
}

Result<uint64_t> Vcpu::tsc() const {
  kvm_msr_entry entry{.index = kTscMsr, .reserved = 0, .data = 0};
  const auto count = read_msrs({&entry, 1});
  if (!count) return base::fail(count.error());
  if (*count != 1) return base::fail(ErrorCode::unsupported, "this kvm does not tell the tsc");
  return uint64_t{entry.data};
}

Result<void> Vcpu::set_tsc(uint64_t value) {
  const kvm_msr_entry entry{.index = kTscMsr, .reserved = 0, .data = value};
  const auto count = write_msrs({&entry, 1});
  if (!count) return base::fail(count.error());
  if (*count == 1) return {};
  return base::fail(ErrorCode::unsupported, "this kvm does not set the tsc");
}

Result<void> Vcpu::shift_tsc(uint64_t ticks) {
  uint64_t offset = 0;
  const kvm_device_attr attribute{.flags = 0,
                                  .group = KVM_VCPU_TSC_CTRL,
                                  .attr = KVM_VCPU_TSC_OFFSET,
                                  .addr = reinterpret_cast<uint64_t>(&offset)};
  if (call(fd_.get(), KVM_GET_DEVICE_ATTR, &attribute) < 0) {
    return base::fail(ErrorCode::unsupported, "this kvm has no tsc offsets");
  }
  offset += ticks;
  return check(fd_.get(), KVM_SET_DEVICE_ATTR, &attribute, "KVM_SET_DEVICE_ATTR, tsc offset");
}

Result<size_t> Vcpu::read_msrs(std::span<kvm_msr_entry> entries) const {
  MsrBuffer table(entries.size());
  table.fill(entries);
  const int count = call(fd_.get(), kGetMsrs, table.data());
  if (count < 0) return base::fail_errno("KVM_GET_MSRS");
  std::copy_n(table.entries(), count, entries.begin());
  return static_cast<size_t>(count);
}

Result<size_t> Vcpu::write_msrs(std::span<const kvm_msr_entry> entries) {
  MsrBuffer table(entries.size());
  table.fill(entries);
  const int count = call(fd_.get(), kSetMsrs, table.data());
  if (count < 0) return base::fail_errno("KVM_SET_MSRS");
  return static_cast<size_t>(count);
}

Result<void> Vcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) {
  CpuidBuffer table(entries.size());
  table.fill(entries);
  return check(fd_.get(), kSetCpuid2, table.data(), "KVM_SET_CPUID2");
}

void Vcpu::pre_fault(uint64_t guest_address, uint64_t bytes) noexcept {
  PreFault request{.gpa = guest_address, .size = bytes, .flags = 0, .padding = {}};
  while (request.size > 0 && call(fd_.get(), kPreFaultMemory, &request) == 0) {
  }
}

// EINVAL when the guest has no paravirtual clock; then there is nothing to tell.
void Vcpu::note_pause() noexcept {
  static_cast<void>(call(fd_.get(), KVM_KVMCLOCK_CTRL, 0));
}

}  // namespace microvm::vmm::kvm
