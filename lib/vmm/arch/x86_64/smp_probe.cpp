#include "vmm/arch/x86_64/smp_probe.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/long_mode.hpp"
#include "vmm/arch/x86_64/probe_code.hpp"
#include "vmm/memory/guest_memory.hpp"

// rdi: kShared, rsi: the vCPU's own count, ebx: how many vCPUs there are.
asm(R"(
  .pushsection .rodata.microvm_smp_probe, "a", @progbits
  .globl microvm_smp_probe
  .hidden microvm_smp_probe
microvm_smp_probe:
  lock incl 0xc0(%rdi)        # arrived; nobody counts before all are there
1:
  cmpl $0, 0x80(%rdi)
  jne 9f
  pause
  movl 0xc0(%rdi), %eax
  cmpl %ebx, %eax
  jb 1b
2:
  cmpl $0, 0x80(%rdi)         # told to stop
  jne 9f
  movl $1, %eax
  lock xaddq %rax, 0x100(%rdi)
3:
  movl $1, %eax
  xchgl %eax, (%rdi)          # the lock
  testl %eax, %eax
  jz 5f
4:
  pause
  cmpl $0, (%rdi)
  jne 4b
  jmp 3b
5:
  incq 0x58(%rdi)
  lfence
  rdtsc
  lfence
  shlq $32, %rdx
  orq %rdx, %rax
  movq 0x40(%rdi), %rcx       # the TSC of the round before
  movq %rax, 0x40(%rdi)
  subq %rax, %rcx
  jbe 6f
  incq 0x48(%rdi)
  cmpq 0x50(%rdi), %rcx
  jbe 6f
  movq %rcx, 0x50(%rdi)
6:
  movl $0, (%rdi)
  incq (%rsi)
  jmp 2b
9:
  movb $0x5a, %al
  outb %al, $0xf0
8:
  hlt
  jmp 8b
  .globl microvm_smp_probe_end
  .hidden microvm_smp_probe_end
microvm_smp_probe_end:
  .popsection
)");

extern "C" {
[[gnu::visibility("hidden")]] extern const std::byte microvm_smp_probe[];
[[gnu::visibility("hidden")]] extern const std::byte microvm_smp_probe_end[];
}

namespace microvm::vmm::x86_64 {
namespace {

constexpr uint64_t kShared = kProbeScratch;
constexpr uint64_t kMostBackwards = kShared + 0x50;
constexpr uint64_t kBackwards = kShared + 0x48;
constexpr uint64_t kCountedUnderLock = kShared + 0x58;
constexpr uint64_t kStop = kShared + 0x80;
constexpr uint64_t kArrived = kShared + 0xc0;
constexpr uint64_t kCountedByXadd = kShared + 0x100;
constexpr uint64_t kOwnCounts = kShared + 0x1000;
constexpr uint64_t kOwnCountStride = 64;

// After it is told to stop a vCPU has at most a few hundred instructions to go.
constexpr std::chrono::seconds kStopLimit{10};
constexpr std::chrono::seconds kStartLimit{5};
constexpr int kKickSignal = SIGUSR1;

base::Failure unsuitable(const std::string& what) {
  return base::fail(ErrorCode::kvm_unsuitable, "guests with several vCPUs: " + what);
}

uint64_t own_count(uint32_t index) {
  return kOwnCounts + index * kOwnCountStride;
}

// "" when the vCPU came to its end as it should.
std::string outcome_of(const kvm::Exit& exit) {
  using Kind = kvm::Exit::Kind;
  if (exit.kind == Kind::pio_write && exit.address == kProbePort) return "";
  if (exit.kind == Kind::shutdown) return "triple fault";
  if (exit.kind == Kind::failed) return exit.detail;
  if (exit.kind == Kind::interrupted) return "it does not stop";
  return "unexpected exit";
}

struct Runner {
  explicit Runner(kvm::Vcpu made) : vcpu(std::move(made)) {}
  kvm::Vcpu vcpu;
  std::string outcome;  // written before `done`
  std::atomic<bool> done = false;
  std::thread thread;
};

class SmpBench {
 public:
  static Result<std::unique_ptr<SmpBench>> create(const kvm::Kvm& kvm, uint16_t vcpus,
                                                  std::span<const std::byte> code) {
    auto memory = GuestMemory::reserve(kProbeMemoryBytes);
    if (!memory) return base::fail(memory.error());
    if (auto ok = memory->back_with_zeros(); !ok) return base::fail(ok.error());
    if (auto ok = write_long_mode_tables(*memory); !ok) return base::fail(ok.error());
    auto vm = kvm.create_vm();
    if (!vm) return base::fail(vm.error());
    if (auto ok = vm->add_memory_slot(0, memory->regions().front()); !ok) {
      return base::fail(ok.error());
    }
    static_cast<void>(memory->write_bytes(kProbeCode, code));  // short, and within the 4 MiB
    std::unique_ptr<SmpBench> bench(new SmpBench(std::move(*memory), std::move(*vm)));
    const CpuidTable cpuid = CpuidTable::for_host(kvm, vcpus);
    for (uint32_t index = 0; index < vcpus; ++index) {
      if (auto ok = bench->add_vcpu(cpuid, index, vcpus); !ok) return base::fail(ok.error());
    }
    return bench;
  }

  Result<SmpProbeResult> run(std::chrono::milliseconds time) {
    const bool started =
        std::ranges::all_of(runners_, [](const auto& runner) { return start(*runner); });
    if (started) {
      wait_until_all_begin();
      std::this_thread::sleep_for(time);
    }
    static_cast<void>(memory_.write(kStop, uint32_t{1}));
    end_all();
    if (!started) return base::fail(ErrorCode::out_of_memory, "no thread for a vCPU");
    for (const auto& runner : runners_) {
      if (!runner->outcome.empty()) return unsuitable(runner->outcome);
    }
    return judge();
  }

 private:
  SmpBench(GuestMemory memory, kvm::Vm vm) : memory_(std::move(memory)), vm_(std::move(vm)) {}

  Result<void> add_vcpu(const CpuidTable& cpuid, uint32_t index, uint16_t count) {
    auto vcpu = vm_.create_vcpu(index);
    if (!vcpu) return base::fail(vcpu.error());
    if (auto ok = set_cpu(*vcpu, cpuid, index); !ok) return ok;
    kvm_regs regs{};
    regs.rip = kProbeCode;
    regs.rsp = kProbeStack;  // not used
    regs.rdi = kShared;
    regs.rsi = own_count(index);
    regs.rbx = count;
    if (auto ok = enter_long_mode(*vcpu, regs); !ok) return ok;
    runners_.push_back(std::make_unique<Runner>(std::move(*vcpu)));
    return {};
  }

  static bool start(Runner& runner) {
    try {
      runner.thread = std::thread([&runner] {
        runner.outcome = outcome_of(runner.vcpu.run());
        runner.done = true;
      });
    } catch (const std::system_error&) {
      return false;
    }
    return true;
  }

  // On a busy host the last thread may come much later than the first.
  void wait_until_all_begin() const {
    const auto limit = std::chrono::steady_clock::now() + kStartLimit;
    const auto ended = [](const auto& runner) { return runner->done.load(); };
    while (std::chrono::steady_clock::now() < limit && !std::ranges::any_of(runners_, ended)) {
      uint32_t arrived = 0;
      static_cast<void>(memory_.read(kArrived, arrived));
      if (arrived == runners_.size()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  // One that does not come by itself is made to leave the guest.
  void end_all() {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(kKickSignal, &action, nullptr);
    const auto limit = std::chrono::steady_clock::now() + kStopLimit;
    for (const auto& runner : runners_) {
      if (!runner->thread.joinable()) continue;
      while (!runner->done) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (std::chrono::steady_clock::now() < limit) continue;
        runner->vcpu.request_exit();
        ::pthread_kill(runner->thread.native_handle(), kKickSignal);
      }
      runner->thread.join();
    }
  }

  [[nodiscard]] Result<SmpProbeResult> judge() const {
    SmpProbeResult result;
    for (uint32_t index = 0; index < runners_.size(); ++index) {
      result.rounds += value_at(own_count(index));
    }
    if (result.rounds == 0) return unsuitable("they do not all begin to run");
    result.tsc_backwards = value_at(kBackwards);
    result.most_backwards_ticks = value_at(kMostBackwards);
    result.tsc_khz = runners_.front()->vcpu.host_tsc_khz();
    const auto check = [&](const char* what, uint64_t counted) -> Result<void> {
      if (counted == result.rounds) return {};
      return unsuitable(std::string(what) + " came to " + std::to_string(counted) + " in " +
                        std::to_string(result.rounds) + " rounds");
    };
    if (auto ok = check("lock xadd", value_at(kCountedByXadd)); !ok) return base::fail(ok.error());
    if (auto ok = check("a count under a lock", value_at(kCountedUnderLock)); !ok) {
      return base::fail(ok.error());
    }
    return result;
  }

  [[nodiscard]] uint64_t value_at(uint64_t address) const {
    uint64_t value = 0;
    static_cast<void>(memory_.read(address, value));
    return value;
  }

  GuestMemory memory_;
  kvm::Vm vm_;
  std::vector<std::unique_ptr<Runner>> runners_;
};

}  // namespace

std::span<const std::byte> smp_probe_code() {
  return {microvm_smp_probe, microvm_smp_probe_end};
}

Result<SmpProbeResult> probe_smp(const kvm::Kvm& kvm, uint16_t vcpus,
                                 std::chrono::milliseconds time, std::span<const std::byte> code) {
  if (vcpus == 0 || vcpus > kMaxSmpProbeVcpus) {
    return base::fail(ErrorCode::invalid_argument, "probe of several vCPUs: give 1 to 16");
  }
  const auto bench = SmpBench::create(kvm, vcpus, code);
  if (!bench) return base::fail(bench.error());
  return (*bench)->run(time);
}

}  // namespace microvm::vmm::x86_64
