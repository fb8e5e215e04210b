// What this host does with guests, tried: the facts behind `microvm doctor --deep`.
#include <algorithm>
#include <thread>

#include "host/base/stopwatch.hpp"
#include "host/live_host.hpp"
#include "host/probe_base.hpp"
#include "host/probe_facts.hpp"
#include "host/probe_scratch.hpp"
#include "host/vm/core.hpp"
#include "microvm/probe.hpp"
#include "microvm/runtime.hpp"

namespace microvm {
namespace {

namespace fs = std::filesystem;
using host::GuestFacts;
using host::Limits;
using host::Scratch;
using host::Stopwatch;
using StepState = ProbeStep::State;
using namespace std::chrono_literals;

constexpr std::chrono::seconds kWholeLimit{120};
// Clones take at most so much of the time that is left then; the rest is for what comes after.
constexpr int64_t kClonesPercent = 40;
constexpr std::chrono::seconds kKeptForTheEnd{5};
constexpr std::chrono::milliseconds kSmpTime{400};
constexpr const char* kBase = "probe:base";
constexpr const char* kImage = "probe";
constexpr uint64_t kGuestMemory = 128ull << 20;
constexpr uint64_t kGuestDisk = 32ull << 20;
constexpr uint32_t kGuestVcpus = 2;

// ---- steps -------------------------------------------------------------------------------------

class Times {
 public:
  void add(double ms) { times_.push_back(ms); }
  [[nodiscard]] size_t count() const { return times_.size(); }
  void put_into(ProbeStep& step) {
    step.count = times_.size();
    if (times_.empty()) return;
    std::ranges::sort(times_);
    step.p50_ms = times_[times_.size() / 2];
    step.most_ms = times_.back();
  }

 private:
  std::vector<double> times_;
};

double to_ms(uint64_t us) {
  return static_cast<double>(us) / 1000;
}

class DeepProbe {
 public:
  DeepProbe(const DeepProbeOptions& options, const CallLimits& limits, DeepReport& report)
      : options_(options),
        limits_(limits, limits.timeout.count() > 0 ? std::chrono::milliseconds(0)
                                                   : std::chrono::milliseconds(kWholeLimit)),
        report_(report) {}

  // Errors: cancelled; no scratch directory. Everything else is a step that failed.
  Result<void> run() {
    look_at_host();
    try_vcpus();
    if (auto ok = check_cancelled(); !ok) return ok;
    const auto scratch = Scratch::make(options_.scratch_dir);
    if (!scratch) return base::fail(scratch.error());
    try_linux(*scratch);
    return check_cancelled();
  }

 private:
  [[nodiscard]] Result<void> check_cancelled() const {
    const auto ok = limits_.check("deep probe");
    if (!ok && ok.error().code == ErrorCode::cancelled) return ok;
    return {};
  }

  [[nodiscard]] std::chrono::milliseconds time_left() const {
    if (!limits_.deadline()) return std::chrono::hours(1);
    return std::chrono::duration_cast<std::chrono::milliseconds>(*limits_.deadline() -
                                                                 Limits::Clock::now());
  }

  void say(const std::string& step) const {
    if (options_.progress) options_.progress({.step = step, .output = {}});
  }

  void add(ProbeStep step) {
    step.detail = host::without_names(std::move(step.detail));
    report_.steps.push_back(std::move(step));
  }
  void failed(const std::string& name, const Error& error) {
    if (time_left() <= 0ms) return skipped(name, "the time was over: " + error.message);
    add({.name = name,
         .state = StepState::failed,
         .detail = std::string(error_code_name(error.code)) + ": " + error.message});
  }
  void skipped(const std::string& name, const std::string& why) {
    add({.name = name, .state = StepState::skipped, .detail = why});
  }

  void look_at_host() {
    say("look at the host");
    auto findings = probe_host({.data_dir = options_.data_dir}, limits_.rest());
    if (findings) report_.findings = std::move(*findings);  // else the steps say why
    for (Finding& finding : report_.findings)
      finding.is = host::without_names(std::move(finding.is));
    host::describe_host(host::HostView(), report_);
  }

  void try_vcpus() {
    host::WorkerSpawner spawner(host::place_for_programs(options_.data_dir));
    for (const uint16_t vcpus : std::initializer_list<uint16_t>{1, 2, 4, 8}) {
      if (!check_cancelled()) return;
      const std::string name = "tiny guest, vcpus " + std::to_string(vcpus);
      say(name);
      const auto told = spawner.probe_smp(vcpus, kSmpTime, limits_);
      if (!told) {
        failed(name, told.error());
        if (told.error().code == ErrorCode::kvm_unavailable) return;
        continue;
      }
      ProbeStep step{.name = name, .detail = "rounds", .count = told->rounds};
      if (told->tsc_backwards > 0) {
        step.state = StepState::failed;
        step.detail = "the TSC went backwards between vCPUs " +
                      std::to_string(told->tsc_backwards) + " times, at most " +
                      std::to_string(told->most_backwards_ticks) + " ticks at " +
                      std::to_string(told->tsc_khz) + " kHz";
      }
      add(std::move(step));
    }
  }

  void try_linux(const Scratch& scratch) {
    if (report_.findings.front().state != Finding::State::ok) {
      return skipped("linux", "KVM does not run it here");
    }
    auto runtime = Runtime::open({.data_dir = scratch / "data"});
    if (!runtime) return failed("linux", runtime.error());
    if (!provide_kernel(*runtime)) return;
    if (!build_image(*runtime, scratch)) return;
    auto vm = try_clones(*runtime);
    if (!vm) return;
    try_forks(*vm);
    try_checkpoints(*vm);
    try_suspends(*vm);
    if (const auto ended = vm->terminate(); !ended) failed("end", ended.error());
  }

  // That of the user, copied: a directory may be read by others while it is written to.
  bool provide_kernel(Runtime& runtime) {
    say("take a kernel");
    if (!options_.kernel_deb.empty()) {
      const auto imported = runtime.import_kernel(options_.kernel_deb, limits_.rest());
      if (!imported) failed("kernel", imported.error());
      return imported.has_value();
    }
    const auto dir = options_.data_dir.empty() ? host::default_data_dir() : options_.data_dir;
    std::error_code ec;
    if (!dir || !fs::exists(*dir / "kernels", ec)) return no_kernel();
    const auto store = host::Store::open(*dir);
    if (!store) return failed("kernel", store.error()), false;
    const auto kernel = store->open_kernel({});
    if (!kernel) return no_kernel();
    fs::copy(kernel->dir, runtime.data_dir() / "kernels" / kernel->dir.filename(),
             fs::copy_options::recursive, ec);
    if (!ec) return true;
    return failed("kernel", {ErrorCode::io, "copy the kernel: " + ec.message()}), false;
  }
  bool no_kernel() {
    skipped("linux", "no kernel is imported: microvm kernel fetch");
    return false;
  }

  bool build_image(Runtime& runtime, const Scratch& scratch) {
    say("boot Linux with two vCPUs");
    const Stopwatch clock;
    const auto info = try_to_build(runtime, scratch);
    if (!info) {
      failed("boot and snapshot", info.error());
      return false;
    }
    Times boot;
    boot.add(static_cast<double>(info->boot_ms));
    ProbeStep step{.name = "boot", .detail = "kernel " + info->kernel};
    boot.put_into(step);
    add(std::move(step));
    Times whole;
    whole.add(to_ms(clock.us()));
    step = {.name = "boot and snapshot",
            .detail = std::to_string(info->memory_data_bytes >> 20) + " MiB of memory"};
    whole.put_into(step);
    add(std::move(step));
    return true;
  }

  Result<ImageInfo> try_to_build(Runtime& runtime, const Scratch& scratch) const {
    const fs::path tar = scratch / "base.tar";
    const fs::path context = scratch / "context";
    if (auto ok = host::write_probe_base(tar); !ok) return base::fail(ok.error());
    if (auto ok = host::write_probe_context(context, kBase); !ok) return base::fail(ok.error());
    const auto base = runtime.import_base(kBase, tar, {.disk_bytes = kGuestDisk}, limits_.rest());
    if (!base) return base::fail(base.error());
    BuildOptions options;
    options.context = context;
    options.tag = kImage;
    options.memory_bytes = kGuestMemory;
    options.vcpus = kGuestVcpus;
    return runtime.build(options, limits_.rest());
  }

  // The first of them goes on.
  std::optional<Vm> try_clones(Runtime& runtime) {
    ProbeStep step{.name = "clones"};
    Times times;
    std::vector<Vm> vms;
    std::vector<GuestFacts> facts;
    const auto kept = time_left() * (100 - kClonesPercent) / 100;
    for (uint32_t i = 0; i < std::max(options_.clones, 1u); ++i) {
      if (i > 0 && time_left() < kept) break;
      say("clone " + std::to_string(i + 1) + " of " + std::to_string(options_.clones));
      auto vm = runtime.run(kImage, {}, limits_.rest());
      const auto told = vm ? host::ask_guest(*vm, limits_) : base::fail(vm.error());
      if (!told) {
        failed(step.name, told.error());
        return std::nullopt;
      }
      times.add(to_ms(vm->launch_times().ready_us));
      vms.push_back(std::move(*vm));
      facts.push_back(*told);
    }
    times.put_into(step);
    judge(step, facts);
    note_unfinished(step, options_.clones);
    add(std::move(step));
    for (size_t i = 1; i < vms.size(); ++i) static_cast<void>(vms[i].terminate());
    return std::move(vms.front());
  }

  static void judge(ProbeStep& step, const std::vector<GuestFacts>& facts) {
    int64_t wall_error = 0;
    for (const GuestFacts& each : facts)
      wall_error = std::max(wall_error, host::wall_error_ns(each));
    step.detail = "wall clock at most " + host::in_ms(wall_error) + " off";
    const std::string wrong = host::find_wrong_clones(facts, kGuestVcpus);
    if (wrong.empty()) return;
    step.state = StepState::failed;
    step.detail += "; " + wrong;
  }

  static void note_unfinished(ProbeStep& step, uint32_t wanted) {
    if (step.count < wanted) step.detail += "; no time for all " + std::to_string(wanted);
  }

  void try_forks(Vm& vm) {
    ProbeStep step{.name = "forks"};
    constexpr uint32_t kForks = 5;
    say("fork");
    const Stopwatch clock;
    auto forks = vm.fork({.count = kForks}, limits_.rest());
    if (!forks) return failed(step.name, forks.error());
    Times times;
    for (uint32_t i = 0; i < kForks; ++i) times.add(to_ms(clock.us()) / kForks);
    std::vector<GuestFacts> facts;
    Result<void> ok;
    for (Vm& fork : *forks) {
      const auto told = host::ask_guest(fork, limits_);
      if (told) facts.push_back(*told);
      if (!told) ok = base::fail(told.error());
      static_cast<void>(fork.terminate());
    }
    if (!ok) return failed(step.name, ok.error());
    times.put_into(step);
    judge(step, facts);
    add(std::move(step));
  }

  void try_checkpoints(Vm& vm) {
    constexpr int kCheckpoints = 3;
    ProbeStep step{.name = "checkpoints"};
    Times times;
    for (int i = 0; i < kCheckpoints; ++i) {
      say("checkpoint " + std::to_string(i + 1));
      const Stopwatch clock;
      const auto kept = vm.checkpoint({}, limits_.rest());
      if (!kept) return failed(step.name, kept.error());
      times.add(to_ms(clock.us()));
    }
    times.put_into(step);
    add(std::move(step));
  }

  struct SuspendsSeen {
    Times stopped, durable, resumed;
    int64_t wall_error_ns = 0;
    std::string wrong;
  };

  void try_suspends(Vm& vm) {
    SuspendsSeen seen;
    for (uint32_t i = 0; i < options_.suspends && time_left() > kKeptForTheEnd; ++i) {
      say("suspend " + std::to_string(i + 1) + " of " + std::to_string(options_.suspends));
      if (const auto ok = suspend_once(vm, seen); !ok) return failed("suspends", ok.error());
    }
    if (seen.resumed.count() == 0) return skipped("suspends", "no time was left");
    ProbeStep step{.name = "suspends: the guest has stopped"};
    seen.stopped.put_into(step);
    add(step);
    step = {.name = "suspends: on the disk"};
    seen.durable.put_into(step);
    add(step);
    step = {.name = "resumes",
            .detail = "wall clock at most " + host::in_ms(seen.wall_error_ns) + " off"};
    seen.resumed.put_into(step);
    note_unfinished(step, options_.suspends);
    if (!seen.wrong.empty()) {
      step.state = StepState::failed;
      step.detail += "; " + seen.wrong;
    }
    add(std::move(step));
  }

  Result<void> suspend_once(Vm& vm, SuspendsSeen& seen) const {
    const auto before = host::ask_guest(vm, limits_);
    if (!before) return base::fail(before.error());
    const auto suspended = vm.suspend({}, limits_.rest());
    if (!suspended) return base::fail(suspended.error());
    const int64_t asleep = host::host_now_ns();
    std::this_thread::sleep_for(50ms);
    const int64_t waking = host::host_now_ns();
    const Stopwatch clock;
    if (auto ok = vm.resume({}, limits_.rest()); !ok) return ok;
    seen.resumed.add(to_ms(clock.us()));
    const auto after = host::ask_guest(vm, limits_);
    if (!after) return base::fail(after.error());
    seen.stopped.add(to_ms(suspended->acknowledged_us));
    seen.durable.add(to_ms(suspended->durable_us));
    seen.wall_error_ns = std::max(seen.wall_error_ns, host::wall_error_ns(*after));
    const std::string wrong = host::find_wrong_clocks(*before, *after, waking - asleep);
    if (!wrong.empty()) seen.wrong = wrong;
    return {};
  }

  const DeepProbeOptions& options_;
  const Limits limits_;
  DeepReport& report_;
};

}  // namespace

const char* probe_step_state_name(StepState state) noexcept {
  switch (state) {
    case StepState::passed:
      return "passed";
    case StepState::failed:
      return "failed";
    case StepState::skipped:
      return "skipped";
  }
  return "unknown";
}

bool DeepReport::passed() const noexcept {
  return std::ranges::none_of(
             findings, [](const Finding& each) { return each.state == Finding::State::problem; }) &&
         std::ranges::none_of(
             steps, [](const ProbeStep& each) { return each.state == StepState::failed; });
}

Result<DeepReport> deep_probe(const DeepProbeOptions& options, const CallLimits& limits) {
  const Stopwatch clock;
  DeepReport report;
  DeepProbe probe(options, limits, report);
  if (auto ok = probe.run(); !ok) return base::fail(ok.error());
  report.took_ms = clock.us() / 1000;
  return report;
}

}  // namespace microvm
