// Forks: one capture of the running Vm, from which as many others start as are asked for. They
// share its memory and disk until they write, and each is given its own identity before the
// programs of its guest go on.
#include <algorithm>
#include <atomic>
#include <thread>

#include "base/blocked_signals.hpp"
#include "host/vm/new_vm.hpp"
#include "host/vm/transition.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;

namespace {

constexpr uint32_t kMaxForks = 1000;
constexpr unsigned kMaxThreads = 8;

Result<void> check_options(const ForkOptions& options) {
  if (options.count == 0 || options.count > kMaxForks) {
    return base::fail(ErrorCode::invalid_argument,
                      "fork: give a count from 1 to " + std::to_string(kMaxForks));
  }
  if (!options.name.empty() && options.count > 1 && !host::is_vm_name(options.name + "-1000")) {
    return base::fail(ErrorCode::invalid_argument, "fork: the name is not valid or too long");
  }
  if (options.count > 1 && options.network && options.network->mode == NetworkMode::tap) {
    return base::fail(ErrorCode::invalid_argument,
                      "fork: a tap is one microvm's: fork one at a time, each with its own");
  }
  return {};
}

RunOptions run_options(const ForkOptions& options, uint32_t index) {
  RunOptions run;
  run.dies_with_owner = options.dies_with_owner;
  run.start_timeout = options.start_timeout;
  run.name = options.name;
  run.idle = options.idle;
  run.run_hook_payload = options.run_hook_payload;
  run.network = *options.network;
  if (!options.name.empty() && options.count > 1) run.name += "-" + std::to_string(index + 1);
  return run;
}

}  // namespace

Result<NetworkOptions> Vm::Impl::network_of_forks() const {
  if (record.network.mode == NetworkMode::tap) {
    return base::fail(ErrorCode::invalid_argument, "fork: microvm " + record.id +
                                                       " has a tap, which is its own: say which "
                                                       "network the fork gets");
  }
  auto policy = network_policy();
  if (!policy) return base::fail(policy.error());
  // Its image has the device, so automatic is user; whether this host can do that was asked, or was
  // not, when this one was run.
  const bool is_user = record.network.mode == NetworkMode::user;
  return NetworkOptions{.mode = is_user ? NetworkMode::automatic : NetworkMode::none,
                        .policy = std::move(*policy),
                        .tap = {}};
}

Result<std::vector<std::shared_ptr<Vm::Impl>>> Vm::Impl::fork(const ForkOptions& asked,
                                                              const Limits& limits) {
  constexpr std::string_view kWhat = "fork";
  const host::Stopwatch clock;
  ForkOptions options = asked;
  if (auto ok = check_options(options); !ok) return base::fail(ok.error());
  const bool keeps_network = !options.network;
  if (keeps_network) {  // what is wrong with it costs no pause
    if (auto possible = network_of_forks(); !possible) return base::fail(possible.error());
  }
  const auto image = host::open_image_files(core->store, record.image, limits);
  if (!image) return base::fail(image.error());
  if (auto ok = shed_layers(limits); !ok) return base::fail(ok.error());
  const auto awake = hold_awake(limits, kWhat);
  if (!awake) return base::fail(awake.error());
  const auto captured =
      capture_frozen(*awake->session, {.run_on = true, .all_pages = true}, true, limits);
  if (!captured) return base::fail(captured.error());
  if (keeps_network) {  // a policy that is not older than the memory
    auto same = network_of_forks();
    if (!same) return base::fail(same.error());
    options.network = std::move(*same);
  }

  const host::NewVmOrigin origin{.layer_dir = dir,
                                 .layers = captured->layers,
                                 .overlays = {captured->pages.get()},
                                 .state = captured->state.get()};
  std::vector<Result<std::shared_ptr<Impl>>> forks(options.count);
  std::atomic<uint32_t> next{0};
  std::atomic<bool> failed{false};
  const auto start_some = [&] {
    for (uint32_t i = next++; i < options.count && !failed; i = next++) {
      forks[i] = host::start_new_vm(core, {.image = *image,
                                           .origin = origin,
                                           .options = run_options(options, i),
                                           .starting = limits.within(options.start_timeout),
                                           .whole = limits,
                                           .clock = host::Stopwatch(core->trace_start("fork"))});
      if (!forks[i]) failed = true;
    }
  };
  {
    const unsigned count = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads);
    std::vector<std::jthread> threads;
    try {
      const base::BlockedSignals blocked;
      for (unsigned i = 1; i < count && i < options.count; ++i) threads.emplace_back(start_some);
    } catch (const std::system_error&) {  // the host has no more: fewer start at a time
    }
    start_some();
  }
  std::vector<std::shared_ptr<Impl>> started;
  for (auto& fork : forks) {
    if (fork && *fork) started.push_back(std::move(*fork));
  }
  if (!failed) {
    for (const auto& vm : started) core->owned.adopt(vm);
    tell(VmEvent::Kind::forked, std::string(kCauseCall), clock.us(),
         std::to_string(started.size()) + ", paused for " + std::to_string(captured->pause_us) +
             " us");
    return started;
  }
  // All or none.
  for (const auto& vm : started) static_cast<void>(vm->remove());
  const auto error = std::ranges::find_if(forks, [](const auto& fork) { return !fork; });
  return base::fail(error->error());
}

}  // namespace microvm
