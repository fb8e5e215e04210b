#include "host/worker/worker.hpp"

#include <fcntl.h>

#include <csignal>
#include <utility>

#include "host/base/embedded.hpp"
#include "host/worker/control_channel.hpp"
#include "sys/socket.hpp"

namespace microvm::host {
namespace {

// A worker that does not answer these is broken, whatever the caller's limits.
constexpr std::chrono::seconds kShapeLimit{30};
constexpr std::chrono::seconds kProbeLimit{30};
constexpr uint32_t kShapeRequestId = 1;
constexpr size_t kStartsAtOnce = 4;  // more only cost more

template <class Reply>
Result<Reply> expect(int control, uint32_t request_id, const Limits& limits,
                     std::string_view what) {
  const auto received = receive_control(control, limits, what);
  if (!received) return base::fail(received.error());
  if (received->state == Received::State::end) {
    return base::fail(ErrorCode::vm_gone, std::string(what) + ": the worker ended");
  }
  if (const auto* error = std::get_if<wire::ErrorReply>(&received->envelope.message)) {
    return base::fail(worker_error(*error));
  }
  const auto* reply = std::get_if<Reply>(&received->envelope.message);
  if (received->envelope.request_id != request_id || reply == nullptr) {
    return base::fail(ErrorCode::protocol, std::string(what) + ": unexpected answer of the worker");
  }
  return *reply;
}

Result<void> expect_ok(int control, uint32_t request_id, const Limits& limits,
                       std::string_view what) {
  const auto reply = expect<wire::OkReply>(control, request_id, limits, what);
  if (!reply) return base::fail(reply.error());
  return {};
}

}  // namespace

Worker::Worker(sys::Process process, base::Fd control)
    : process_(std::make_shared<ChildProcess>(std::move(process))), control_(std::move(control)) {}

Worker::~Worker() {
  if (process_) end(std::chrono::milliseconds(0));
}

std::string Worker::end(std::chrono::milliseconds patience) {
  if (!process_) return {};
  auto exit = process_->wait(sys::WaitLimits::within(patience));
  if (!exit && exit.error().code == ErrorCode::deadline_exceeded) {
    [[maybe_unused]] const auto killed = process_->kill();
    exit = process_->wait();
  }
  if (!exit || process_->killed_by_us() || exit->signal == 0) return {};
  const char* name = ::sigabbrev_np(exit->signal);
  return "its worker was ended by SIG" + std::string(name != nullptr ? name : "?");
}

Result<base::Fd> open_kvm() {
  base::Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (kvm) return kvm;
  const int err = errno;
  std::string message = base::fail_errno("open /dev/kvm", err).value().message;
  if (err == ENOENT || err == ENODEV || err == ENXIO) {
    message +=
        ": load the module (modprobe kvm-intel or kvm-amd), switch virtualization on in the "
        "firmware, or, inside a virtual machine, allow nested virtualization on its host";
  } else if (err == EACCES || err == EPERM) {
    message +=
        ": add your user to the group of the device (sudo usermod -aG kvm $USER) and log in "
        "again";
  }
  return base::fail(ErrorCode::kvm_unavailable, std::move(message));
}

Result<int> WorkerSpawner::program() {
  const std::scoped_lock lock(mutex_);
  if (!program_) {
    auto program = sys::executable_from_bytes("microvm-vmm", embedded_worker(), directory_);
    if (!program) return base::fail(program.error());
    program_ = std::move(*program);
    places_.take(kStartsAtOnce);
  }
  return program_.get();
}

Result<int> WorkerSpawner::net_program() {
  const std::scoped_lock lock(mutex_);
  if (!net_program_) {
    auto program = sys::executable_from_bytes("microvm-net", embedded_net(), directory_);
    if (!program) return base::fail(program.error());
    net_program_ = std::move(*program);
  }
  return net_program_.get();
}

Result<int> WorkerSpawner::kvm() {
  const std::scoped_lock lock(mutex_);
  if (!kvm_) {
    auto kvm = open_kvm();
    if (!kvm) return base::fail(kvm.error());
    kvm_ = std::move(*kvm);
  }
  return kvm_.get();
}

Result<Worker> WorkerSpawner::start() {
  const auto program = this->program();
  if (!program) return base::fail(program.error());
  auto pair = sys::seqpacket_pair();
  if (!pair) return base::fail(pair.error());
  if (auto ok = sys::set_nonblocking(pair->first.get()); !ok) return base::fail(ok.error());
  const auto worker_end = places_.put(std::move(pair->second));
  sys::SpawnOptions options;
  options.arguments = {"microvm-vmm"};
  options.fds = {worker_end.get()};
  static_assert(wire::kWorkerControlFd == 3);
  options.new_session = true;  // a Ctrl-C is the embedder's to act on
  auto process = sys::spawn(*program, options);
  if (!process) return base::fail(process.error());
  return Worker(std::move(*process), std::move(pair->first));
}

Result<Worker> WorkerSpawner::start_shaped(const Shape& shape) {
  const auto kvm = this->kvm();
  if (!kvm) return base::fail(kvm.error());
  auto worker = start();
  if (!worker) return worker;
  std::vector<int> fds{*kvm};
  sys::SocketPair home;
  if (shape.nets != 0) {
    const auto net = net_program();
    if (!net) return base::fail(net.error());
    auto pair = sys::seqpacket_pair();
    if (!pair) return base::fail(pair.error());
    home = std::move(*pair);
    fds.insert(fds.end(), {*net, home.second.get()});
  }
  auto sent = send_control(worker->control(), {kShapeRequestId, wire::ShapeRequest{shape}}, fds,
                           Limits({}, kShapeLimit), "start a worker");
  if (!sent) return base::fail(sent.error());
  worker->keep_home(std::move(home.first));
  return worker;
}

Result<void> WorkerSpawner::wait_shaped(const Worker& worker, const Limits& limits) {
  return expect_ok(worker.control(), kShapeRequestId, limits.within(kShapeLimit),
                   "prepare a worker");
}

Result<void> WorkerSpawner::merge_layers(int lower, int upper, const Limits& limits) {
  auto worker = start();
  if (!worker) return base::fail(worker.error());
  const int fds[] = {lower, upper};
  constexpr std::string_view kWhat = "merge disk layers";
  auto sent = send_control(worker->control(), {1, wire::MergeRequest{}}, fds, limits, kWhat);
  if (!sent) return sent;
  return expect_ok(worker->control(), 1, limits, kWhat);
}

Result<void> WorkerSpawner::probe(const Limits& limits) {
  const auto kvm = this->kvm();
  if (!kvm) return base::fail(kvm.error());
  auto worker = start();
  if (!worker) return base::fail(worker.error());
  const Limits bounded = limits.within(kProbeLimit);
  constexpr std::string_view kWhat = "probe /dev/kvm";
  auto sent =
      send_control(worker->control(), {1, wire::ProbeRequest{}}, {&*kvm, 1}, bounded, kWhat);
  if (!sent) return sent;
  return expect_ok(worker->control(), 1, bounded, kWhat);
}

Result<wire::SmpProbeReply> WorkerSpawner::probe_smp(uint16_t vcpus, std::chrono::milliseconds time,
                                                     const Limits& limits) {
  const auto kvm = this->kvm();
  if (!kvm) return base::fail(kvm.error());
  auto worker = start();
  if (!worker) return base::fail(worker.error());
  const Limits bounded = limits.within(kProbeLimit);
  constexpr std::string_view kWhat = "probe several vCPUs";
  const wire::SmpProbeRequest request{vcpus, static_cast<uint32_t>(time.count())};
  auto sent = send_control(worker->control(), {1, request}, {&*kvm, 1}, bounded, kWhat);
  if (!sent) return base::fail(sent.error());
  return expect<wire::SmpProbeReply>(worker->control(), 1, bounded, kWhat);
}

}  // namespace microvm::host
