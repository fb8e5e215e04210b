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

Result<void> expect_ok(int control, uint32_t request_id, const Limits& limits,
                       std::string_view what) {
  const auto received = receive_control(control, limits, what);
  if (!received) return base::fail(received.error());
  if (received->state == Received::State::end) {
    return base::fail(ErrorCode::vm_gone, std::string(what) + ": the worker ended");
  }
  if (const auto* error = std::get_if<wire::ErrorReply>(&received->envelope.message)) {
    return base::fail(worker_error(*error));
  }
  if (received->envelope.request_id != request_id ||
      !std::holds_alternative<wire::OkReply>(received->envelope.message)) {
    return base::fail(ErrorCode::protocol, std::string(what) + ": unexpected answer of the worker");
  }
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
  const bool killed_by_us = !exit && exit.error().code == ErrorCode::deadline_exceeded;
  if (killed_by_us) {
    [[maybe_unused]] const auto killed = process_->kill();
    exit = process_->wait();
  }
  process_.reset();
  if (!exit || killed_by_us || exit->signal == 0) return {};
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
    auto program = sys::executable_from_bytes("microvm-vmm", embedded_worker());
    if (!program) return base::fail(program.error());
    program_ = std::move(*program);
  }
  return program_.get();
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
  sys::SpawnOptions options;
  options.arguments = {"microvm-vmm"};
  options.fds = {pair->second.get()};
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
  const wire::ShapeRequest request{shape.memory_bytes, shape.vcpus, shape.disks};
  auto sent = send_control(worker->control(), {kShapeRequestId, request}, {&*kvm, 1},
                           Limits({}, kShapeLimit), "start a worker");
  if (!sent) return base::fail(sent.error());
  return worker;
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

Result<Worker> WorkerPool::start(const Shape& shape) {
  auto worker = spawner_->start_shaped(shape);
  if (worker) worker->reap_on(reactor_);
  return worker;
}

std::optional<Worker> WorkerPool::take_idle(const Shape& shape) {
  const std::scoped_lock lock(mutex_);
  const auto found = stock_.find(shape);
  if (found == stock_.end() || found->second.idle.empty()) return std::nullopt;
  std::optional<Worker> worker(std::move(found->second.idle.back()));
  found->second.idle.pop_back();
  return worker;
}

Result<Worker> WorkerPool::take(const Shape& shape, const Limits& limits) {
  const Limits bounded = limits.within(kShapeLimit);
  constexpr std::string_view kWhat = "prepare a worker";
  while (auto idle = take_idle(shape)) {
    // One that died while it waited is not worth an error.
    const auto shaped = expect_ok(idle->control(), kShapeRequestId, bounded, kWhat);
    if (shaped) return std::move(*idle);
    if (shaped.error().code != ErrorCode::vm_gone) return base::fail(shaped.error());
  }
  auto worker = start(shape);
  if (!worker) return worker;
  auto shaped = expect_ok(worker->control(), kShapeRequestId, bounded, kWhat);
  if (!shaped) return base::fail(shaped.error());
  return worker;
}

void WorkerPool::keep(const Shape& shape, uint32_t count) {
  const std::scoped_lock lock(mutex_);
  auto& wanted = stock_[shape].wanted;
  wanted = std::max(wanted, count);
}

bool WorkerPool::begin_start(const Shape& shape) {
  const std::scoped_lock lock(mutex_);
  Stock& stock = stock_[shape];
  if (stock.idle.size() + stock.starting >= stock.wanted) return false;
  ++stock.starting;
  return true;
}

void WorkerPool::end_start(const Shape& shape, std::optional<Worker> worker) {
  const std::scoped_lock lock(mutex_);
  Stock& stock = stock_[shape];
  --stock.starting;
  if (worker) stock.idle.push_back(std::move(*worker));
}

Result<void> WorkerPool::fill(const Shape& shape) {
  while (begin_start(shape)) {
    auto worker = start(shape);
    if (!worker) {
      end_start(shape, std::nullopt);
      return base::fail(worker.error());
    }
    end_start(shape, std::move(*worker));
  }
  return {};
}

void WorkerPool::fill_in_background(const Shape& shape) {
  reactor_.post([self = shared_from_this(), shape] {
    // A failure shows again, with its reason, in the run() that finds the pool empty.
    [[maybe_unused]] const auto filled = self->fill(shape);
  });
}

}  // namespace microvm::host
