// The worker program over its control socket: starting, stopping, logs, clients, bad requests.
#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "raw_guest.hpp"
#include "state/exit_record.hpp"
#include "suite/skip.hpp"
#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/arch/x86_64/probe.hpp"
#include "worker_client.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using Reason = wire::ExitEvent::Reason;

namespace {

Code hello() {
  Code code;
  return code.print("hello\n");
}

wire::ExitEvent exit_record(const WorkerProcess& worker) {
  const std::string record = read_file(worker.files().exit_record.get());
  const auto exit = state::decode_exit_record(wire::as_bytes(record));
  REQUIRE(exit);
  return *exit;
}

// Runs a guest to its end and checks that everybody is told the same.
wire::ExitEvent run_to_end(const Code& guest, bool plain_io = false) {
  WorkerProcess worker(plain_io);
  worker.run(guest);
  const auto event = worker.owner().wait_for<wire::ExitEvent>();
  const auto status = worker.wait_exit();
  REQUIRE(status);
  CHECK(*status == 0);
  CHECK(exit_record(worker).reason == event.reason);
  CHECK(exit_record(worker).detail == event.detail);
  CHECK(exit_record(worker).usage.exits == event.usage.exits);
  CHECK(event.usage.exits > 0);
  CHECK(event.usage.cpu_us > 0);
  CHECK(event.usage.lived_us > 0);
  return event;
}

// A paravirtual KVM may give up on the fault instead.
bool shuts_down_at_triple_fault() {
  // lidt of a table that is empty, since memory is; then an invalid instruction.
  constexpr std::array kCode = {std::byte{0x0f}, std::byte{0x01}, std::byte{0x1c}, std::byte{0x25},
                                std::byte{0x00}, std::byte{0x00}, std::byte{0x30}, std::byte{0x00},
                                std::byte{0x0f}, std::byte{0x0b}};
  RawGuest guest(kCode);
  const kvm::Exit exit = guest.vcpu.run();
  REQUIRE((exit.kind == kvm::Exit::Kind::shutdown || exit.kind == kvm::Exit::Kind::failed));
  return exit.kind == kvm::Exit::Kind::shutdown;
}

std::chrono::nanoseconds processor_time(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  REQUIRE(::clock_getcpuclockid(pid, &clock) == 0);
  REQUIRE(::clock_gettime(clock, &time) == 0);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

TEST_CASE("worker: a guest prints, powers off, and log and record are there") {
  for (const bool plain_io : {false, true}) {
    WorkerProcess worker(plain_io);
    worker.run(hello().power_off());
    CHECK(worker.owner().wait_for<wire::ExitEvent>().reason == Reason::power_off);
    CHECK(worker.wait_exit() == 0);
    CHECK(read_file(worker.files().kernel_log.get()) == "hello\n");
    CHECK(exit_record(worker).reason == Reason::power_off);
  }
}

TEST_CASE("worker: each way a guest ends has its reason") {
  CHECK(run_to_end(Code().keyboard_reset()).reason == Reason::reset);
  CHECK(run_to_end(Code().write_port(layout::kResetPort, layout::kResetValue).stop_forever())
            .reason == Reason::reset);
  const auto panic = run_to_end(
      Code().print("ok\nKernel panic - not syncing: no init\r\nmore\n").keyboard_reset());
  CHECK(panic.reason == Reason::panic);
  CHECK(panic.detail == "Kernel panic - not syncing: no init");
  const auto crash = run_to_end(Code().triple_fault());
  CHECK(crash.reason ==
        (shuts_down_at_triple_fault() ? Reason::triple_fault : Reason::internal_error));
  CHECK(crash.detail.empty() == (crash.reason == Reason::triple_fault));
}

TEST_CASE("worker: ports and addresses of nothing read as nothing and take writes") {
  WorkerProcess worker;
  constexpr uint64_t kNothing = layout::virtio_mmio_address(layout::kMaxVirtioSlots);
  constexpr uint64_t kVsock = layout::virtio_mmio_address(4);
  Code guest;
  guest.map_devices();
  guest.read_port(0x1234).write_al_to_port(layout::kSerialPort);
  guest.write_port(0x1234, 1);
  guest.point_at(kNothing).load_eax().write_al_to_port(layout::kSerialPort);
  guest.point_at(kNothing).set_eax(7).store_eax();
  guest.point_at(kVsock).load_eax().write_al_to_port(layout::kSerialPort);  // "virt"
  guest.point_at(kVsock + 0xff8).set_eax(7).store_eax().power_off();
  worker.run(guest);
  CHECK(worker.owner().wait_for<wire::ExitEvent>().reason == Reason::power_off);
  worker.wait_exit();
  CHECK(read_file(worker.files().kernel_log.get()) == std::string("\xff\0v", 3));
}

TEST_CASE("worker: pause stops the guest, resume continues it") {
  for (const uint16_t vcpus : {uint16_t{1}, uint16_t{3}}) {
    WorkerProcess worker;
    worker.run(counting_guest(), {.vcpus = vcpus});
    worker.kernel_log(10);
    for (int round = 0; round < 20; ++round) {
      worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});
      worker.check_stands_still();
      const size_t paused = worker.kernel_log().size();
      worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
      worker.kernel_log(paused + 5);
    }
    worker.owner().call_for<wire::OkReply>(wire::TerminateRequest{});
    CHECK(worker.owner().wait_for<wire::ExitEvent>().reason == Reason::terminated);
    CHECK(worker.wait_exit() == 0);
  }
}

TEST_CASE("worker: with a machine it is locked down, all threads of it") {
  WorkerProcess worker;
  worker.run(counting_guest(), {.vcpus = 2});
  worker.kernel_log(10);
  size_t threads = 0;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(worker.pid()) + "/task")) {
    std::ifstream name(task.path() / "comm");
    std::string comm;
    std::getline(name, comm);
    if (comm.starts_with("kvm-")) continue;  // the kernel's own, in our process
    std::ifstream file(task.path() / "status");
    const std::string status(std::istreambuf_iterator<char>(file), {});
    CHECK(status.find("Seccomp:\t2") != std::string::npos);
    CHECK(status.find("NoNewPrivs:\t1") != std::string::npos);
    ++threads;
  }
  CHECK(threads >= 3);
}

TEST_CASE("worker: it raises its limit on fds as far as it may") {
  rlimit ours{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &ours) == 0);
  if (ours.rlim_max < 4096) SKIP_CASE("needs a hard limit of 4096 fds");
  const rlimit usual{1024, ours.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &usual) == 0);
  WorkerProcess worker;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &ours) == 0);
  CHECK(error_code(worker.owner().call(wire::InfoRequest{}).message) == ErrorCode::busy);
  rlimit its{};
  REQUIRE(::prlimit(worker.pid(), RLIMIT_NOFILE, nullptr, &its) == 0);
  CHECK(its.rlim_cur >= 2048);
}

TEST_CASE("worker: a client it has no fd for waits without costing time") {
  for (const bool plain_io : {false, true}) {
    WorkerProcess worker(plain_io);
    worker.run(counting_guest());
    worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});
    rlimit old{};
    REQUIRE(::prlimit(worker.pid(), RLIMIT_NOFILE, nullptr, &old) == 0);
    const rlimit none{3, old.rlim_max};  // standard input, output and error
    REQUIRE(::prlimit(worker.pid(), RLIMIT_NOFILE, &none, nullptr) == 0);
    auto client = worker.connect();
    const auto before = processor_time(worker.pid());
    ::usleep(400'000);
    CHECK(processor_time(worker.pid()) - before < milliseconds(100));
    REQUIRE(::prlimit(worker.pid(), RLIMIT_NOFILE, &old, nullptr) == 0);
    CHECK(client.call_for<wire::InfoReply>(wire::InfoRequest{}).paused);
  }
}

TEST_CASE("worker: info tells what runs") {
  WorkerProcess worker;
  worker.run(counting_guest(), {.memory_bytes = 32 << 20, .vcpus = 2});
  worker.kernel_log(10);
  const auto info = worker.owner().call_for<wire::InfoReply>(wire::InfoRequest{});
  CHECK(info.worker_pid == static_cast<uint32_t>(worker.pid()));
  CHECK_FALSE(info.paused);
  CHECK(info.memory_bytes == 32u << 20);
  CHECK(info.vcpus == 2);
  CHECK(info.exits >= 10);
  CHECK(info.start_to_run_ns > 0);
  CHECK(info.devices_needing_reset == 0);
}

TEST_CASE("worker: a followed log goes on to the end of the vm") {
  WorkerProcess worker;
  worker.run(counting_guest());
  auto reply = worker.owner().call(wire::LogsRequest{wire::LogsRequest::Which::kernel, true});
  REQUIRE(reply.fds.size() == 1);
  std::string text;
  char buffer[512];
  while (text.size() < 2000) {
    const ssize_t got = ::read(reply.fds[0].get(), buffer, sizeof buffer);
    REQUIRE(got > 0);
    text.append(buffer, static_cast<size_t>(got));
  }
  for (size_t i = 1; i < text.size(); ++i) {
    REQUIRE(static_cast<uint8_t>(text[i]) == (text[i - 1] - ' ' + 1) % 64 + ' ');
  }
  worker.owner().call_for<wire::OkReply>(wire::TerminateRequest{});
  while (::read(reply.fds[0].get(), buffer, sizeof buffer) > 0) {
  }
  CHECK(worker.wait_exit() == 0);
}

TEST_CASE("worker: it dies with its owner if asked to, and lives on if not") {
  WorkerProcess follows;
  follows.run(counting_guest());
  follows.owner().close();
  CHECK(follows.wait_exit() == 0);
  CHECK(exit_record(follows).reason == Reason::terminated);

  WorkerProcess stays;
  stays.run(counting_guest(), {}, false);
  stays.owner().close();
  CHECK_FALSE(stays.wait_exit(milliseconds(100)));
  auto client = stays.connect();
  CHECK_FALSE(client.call_for<wire::InfoReply>(wire::InfoRequest{}).paused);
  auto another = stays.connect();
  client.call_for<wire::OkReply>(wire::TerminateRequest{});
  CHECK(client.wait_for<wire::ExitEvent>().reason == Reason::terminated);
  CHECK(another.wait_for<wire::ExitEvent>().reason == Reason::terminated);
  CHECK(stays.wait_exit() == 0);
}

TEST_CASE("worker: one without a machine goes with its owner") {
  WorkerProcess fresh;
  fresh.owner().close();
  CHECK(fresh.wait_exit() == 0);
  WorkerProcess pooled;
  pooled.shape();
  pooled.owner().close();
  CHECK(pooled.wait_exit() == 0);
}

TEST_CASE("worker: requests at the wrong time or with the wrong fds are refused") {
  WorkerProcess worker;
  auto& owner = worker.owner();
  const auto code_of = [&](const wire::Message& message, const std::vector<int>& fds = {}) {
    return error_code(owner.call(message, fds).message);
  };
  CHECK(code_of(wire::PauseRequest{}) == ErrorCode::busy);
  CHECK(code_of(wire::InfoRequest{}) == ErrorCode::busy);
  CHECK(code_of(wire::BootRequest{}) == ErrorCode::busy);
  CHECK(code_of(wire::OkReply{}) == ErrorCode::protocol);
  const auto shape = [](uint64_t memory_bytes, uint16_t vcpus, uint16_t disks = 0) {
    return wire::ShapeRequest{{.memory_bytes = memory_bytes, .vcpus = vcpus, .disks = disks}};
  };
  CHECK(code_of(shape(16 << 20, 1)) == ErrorCode::invalid_argument);
  const auto file = memory_file("not kvm");
  CHECK(code_of(shape(16 << 20, 1), {file.get()}) == ErrorCode::kvm_unavailable);
  const auto kvm = open_kvm();
  CHECK(code_of(shape(1, 1), {kvm.get()}) == ErrorCode::invalid_argument);
  CHECK(code_of(shape(16 << 20, 0), {kvm.get()}) == ErrorCode::invalid_argument);
  CHECK(code_of(shape(16 << 20, 1, 5), {kvm.get()}) == ErrorCode::invalid_argument);
  worker.shape();
  CHECK(code_of(shape(16 << 20, 1), {kvm.get()}) == ErrorCode::busy);
  CHECK(code_of(wire::BootRequest{}) == ErrorCode::invalid_argument);
  CHECK(code_of(wire::ResumeRequest{}) == ErrorCode::busy);
  CHECK(error_code(worker.boot(counting_guest())) == ErrorCode{});
  CHECK(error_code(worker.boot(counting_guest())) == ErrorCode::busy);
  CHECK(code_of(wire::SnapshotRequest{}) == ErrorCode::invalid_argument);
  CHECK(code_of(wire::ConnectRequest{1025}) == ErrorCode::connection_refused);
  CHECK_FALSE(worker.kernel_log(5).empty());
}

TEST_CASE("worker: a boot that fails leaves a worker that can only be ended") {
  WorkerProcess worker;
  worker.shape();
  const auto junk = memory_file("not a kernel");
  const auto& files = worker.files();
  const auto reply =
      worker.owner().call(wire::BootRequest{"", {"tiny", true}, {}},
                          {junk.get(), junk.get(), files.listener.get(), files.exit_record.get(),
                           files.kernel_log.get(), files.app_log.get()});
  CHECK(error_code(reply.message) == ErrorCode::invalid_argument);
  auto& owner = worker.owner();
  CHECK(error_code(owner.call(wire::ResumeRequest{}).message) == ErrorCode::busy);
  CHECK(error_code(owner.call(wire::PauseRequest{}).message) == ErrorCode::busy);
  owner.call_for<wire::OkReply>(wire::TerminateRequest{});
  CHECK(worker.wait_exit() == 0);
}

TEST_CASE("worker: bytes that are no message end that connection only") {
  WorkerProcess worker;
  worker.run(counting_guest(), {}, false);
  auto client = worker.connect();
  client.send_bytes(wire::as_bytes("garbage"));
  CHECK(client.closed_within(milliseconds(2000)));
  auto big = worker.connect();
  big.send_bytes(wire::Bytes(wire::kMaxControlMessage + 1));
  CHECK(big.closed_within(milliseconds(2000)));
  CHECK_FALSE(worker.owner().call_for<wire::InfoReply>(wire::InfoRequest{}).paused);
}

TEST_CASE("worker: a request of tomorrow is refused by name, and nothing ends") {
  WorkerProcess worker;
  worker.run(counting_guest());
  auto request = *wire::encode({77, wire::PauseRequest{}});
  request[2] = std::byte{99};  // its type
  const auto unknown = worker.owner().call_bytes(request);
  CHECK(error_code(unknown) == ErrorCode::unsupported);
  CHECK(std::get<wire::ErrorReply>(unknown).message ==
        "this worker speaks version 2 of the control wire and knows no request 99: suspend and "
        "resume the microvm for a newer worker");
  request[0] = std::byte{9};  // its version
  const auto newer = worker.owner().call_bytes(request);
  CHECK(error_code(newer) == ErrorCode::unsupported);
  CHECK_FALSE(worker.owner().call_for<wire::InfoReply>(wire::InfoRequest{}).paused);
}

TEST_CASE("worker: the probe answers and the worker is gone") {
  WorkerProcess worker;
  const auto kvm = open_kvm();
  const auto reply = worker.owner().call(wire::ProbeRequest{}, {kvm.get()});
  const auto here = x86_64::probe(shared_kvm());
  CHECK(error_code(reply.message) == (here ? ErrorCode{} : here.error().code));
  const auto* error = std::get_if<wire::ErrorReply>(&reply.message);
  CHECK((error != nullptr ? error->message : "") == (here ? "" : here.error().message));
  CHECK(worker.wait_exit() == 0);
}

TEST_CASE("worker: a guest of several vCPUs counts right, and its time goes forwards") {
  for (const uint16_t vcpus : std::initializer_list<uint16_t>{1, 2, 4, 8}) {
    INFO(vcpus);
    WorkerProcess worker;
    const auto kvm = open_kvm();
    const auto reply = worker.owner().call_for<wire::SmpProbeReply>(
        wire::SmpProbeRequest{vcpus, 200}, {kvm.get()});
    CHECK(reply.rounds > 10u);
    CHECK(reply.tsc_backwards == 0);
    MESSAGE(vcpus << " vCPUs: " << reply.rounds << " rounds");
    CHECK(worker.wait_exit() == 0);
  }
}

TEST_CASE("worker: several vCPUs are probed within bounds") {
  const auto kvm = open_kvm();
  for (const wire::SmpProbeRequest request :
       {wire::SmpProbeRequest{0, 10}, wire::SmpProbeRequest{17, 10},
        wire::SmpProbeRequest{2, 10'001}}) {
    WorkerProcess worker;
    CHECK(error_code(worker.owner().call(request, {kvm.get()}).message) ==
          ErrorCode::invalid_argument);
  }
}

TEST_CASE("worker: what is no KVM can not be probed, and one with a machine does not probe") {
  WorkerProcess worker;
  const auto file = memory_file("not kvm");
  CHECK(error_code(worker.owner().call(wire::ProbeRequest{}).message) ==
        ErrorCode::invalid_argument);
  CHECK(error_code(worker.owner().call(wire::ProbeRequest{}, {file.get()}).message) ==
        ErrorCode::kvm_unavailable);
  CHECK(worker.wait_exit() == 0);
  WorkerProcess shaped;
  shaped.shape();
  const auto kvm = open_kvm();
  CHECK(error_code(shaped.owner().call(wire::ProbeRequest{}, {kvm.get()}).message) ==
        ErrorCode::busy);
}
