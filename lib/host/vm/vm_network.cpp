// A Vm's network: what it may reach, what went there.
#include "host/base/printable.hpp"
#include "host/network/net_client.hpp"
#include "host/network/rule_text.hpp"
#include "host/network/setup_file.hpp"
#include "host/vm/flow_stream.hpp"
#include "host/vm/transition.hpp"
#include "host/vm/vm_impl.hpp"
#include "sys/file.hpp"

namespace microvm {

using host::Limits;

namespace {

// A network process that is alive answers within this.
constexpr std::chrono::seconds kNetworkLimit{10};

}  // namespace

Result<void> Vm::Impl::check_user_network(std::string_view what) const {
  if (record.network.mode == NetworkMode::user) return {};
  return base::fail(ErrorCode::unsupported,
                    std::string(what) + ": the network of microvm " + record.id + " is " +
                        network_mode_name(record.network.mode) + ": run it with network user");
}

Result<NetworkPolicy> Vm::Impl::network_policy() const {
  if (record.network.mode != NetworkMode::user) return NetworkPolicy{};
  const auto setup = host::read_setup(dir);
  if (!setup) return base::fail(setup.error());
  return host::policy_of(*setup);
}

Result<bool> Vm::Impl::read_flow_counters(NetworkCounters& counters, const Limits& limits) const {
  if (record.network.mode != NetworkMode::user) return false;
  auto client = host::NetClient::connect(dir);
  if (!client) return base::fail(client.error());
  if (!*client) return false;
  const auto status = (*client)->status(limits);
  if (!status && status.error().code == ErrorCode::vm_gone) return false;  // it was just ending
  if (!status) return base::fail(status.error());
  host::add_status(counters, *status);
  return true;
}

Result<NetworkInfo> Vm::Impl::network(const Limits& limits) {
  if (ended()) {
    return base::fail(ErrorCode::vm_gone, "read the network: microvm " + record.id + " has ended");
  }
  NetworkInfo info;
  info.mode = record.network.mode;
  info.tap = record.network.tap;
  info.mac = record.network.mac;
  auto policy = network_policy();
  if (!policy) return base::fail(policy.error());
  info.policy = std::move(*policy);
  const auto is_running = read_flow_counters(info.counters, limits);
  if (!is_running) return base::fail(is_running.error());
  info.is_running = *is_running;
  return info;
}

// A microvm-net that is just starting makes its socket before it reads the file.
Result<void> Vm::Impl::set_network_policy(const NetworkPolicy& policy, const Limits& limits) {
  constexpr std::string_view kWhat = "set the network's policy";
  if (auto ok = check_user_network(kWhat); !ok) return ok;
  const auto setup = host::compile_policy(policy);
  if (!setup) return base::fail(setup.error());
  const auto change = Transition::begin(*this, limits, kWhat);
  if (!change) return base::fail(change.error());
  if (ended()) {
    return base::fail(ErrorCode::vm_gone,
                      std::string(kWhat) + ": microvm " + record.id + " has ended");
  }
  if (auto ok = host::replace_setup(dir, *setup); !ok) return ok;
  auto client = host::NetClient::connect(dir);
  if (!client) return base::fail(client.error());
  if (!*client) return {};
  const auto file = host::open_setup(dir);
  if (!file) return base::fail(file.error());
  auto done = (*client)->change_setup(file->get(), limits);
  if (done || done.error().code != ErrorCode::vm_gone) return done;
  // One that has ended lets nothing through any more; one that still listens has turned us away.
  const auto still = host::NetClient::connect(dir);
  if (!still) return base::fail(still.error());
  if (!*still) return {};
  return base::fail(ErrorCode::busy, std::string(kWhat) +
                                         ": too many talk with the network's process: it is "
                                         "recorded, but not in force yet; try again");
}

Result<base::Fd> Vm::Impl::tap_for_resume() const {
  if (record.network.mode != NetworkMode::tap) return base::Fd();
  if (!record.network.tap.empty()) return host::open_tap(record.network.tap);
  if (tap_) return sys::duplicate(tap_.get(), "keep the tap");
  core->log("resume: the tap of microvm " + record.id +
            " is in the hands of the process that started it: its link is down");
  return base::Fd();
}

void Vm::Impl::send_to_tell_network(host::Errands& errands, std::weak_ptr<Impl> vm,
                                    wire::NetworkEvent event) {
  if (event.what == wire::NetworkEvent::What::up) return;
  errands.add([vm = std::move(vm), why = host::printable(event.message)] {
    const auto held = vm.lock();
    if (held) held->tell(VmEvent::Kind::network_failed, std::string(kCauseItself), 0, why);
  });
}

Result<NetworkInfo> Vm::network(const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->network(Limits(limits, kNetworkLimit));
}

Result<void> Vm::set_network_policy(const NetworkPolicy& policy, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return ok;
  return impl_->set_network_policy(policy, Limits(limits, kNetworkLimit));
}

Result<FlowStream> Vm::flows(const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  if (auto ok = impl_->check_user_network("read the flows"); !ok) return base::fail(ok.error());
  auto stream = FlowStream::Impl::open(impl_);
  if (!stream) return base::fail(stream.error());
  return FlowStream(std::move(*stream));
}

}  // namespace microvm
