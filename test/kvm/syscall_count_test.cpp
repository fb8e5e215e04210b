// The restore path is judged by counts that do not wobble: system calls of the worker from the
// request to the first instruction of the guest, counted by ptrace.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>

#include <future>

#include "captured.hpp"
#include "sys/file.hpp"
#include "tracer.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

struct Counts {
  unsigned calls = 0;
  unsigned ioctls = 0;
};

// From the first recvmsg to KVM_RUN, both included. Empty when that does not come.
std::optional<Counts> count_to_first_run(Tracer& tracer) {
  Counts counts;
  bool runs = false;
  const auto note = [&](const Tracer::Call& call) {
    if (runs || (counts.calls == 0 && call.number != SYS_recvmsg)) return 0;
    ++counts.calls;
    if (call.number != SYS_ioctl) return 0;
    ++counts.ioctls;
    runs = call.arguments[1] == KVM_RUN;
    return 0;
  };
  if (!tracer.follow(note, [&] { return runs; })) return std::nullopt;
  return counts;
}

// Whether the loop's thread sends something before the first time that it wakes another one.
bool answers_before_it_wakes(WorkerProcess& worker, const std::function<void()>& ask) {
  Tracer tracer(worker.pid());
  ask();
  std::optional<uint64_t> first;
  const auto note = [&](const Tracer::Call& call) {
    const bool wakes =
        call.number == SYS_futex && (call.arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAKE;
    if (!first && call.thread == worker.pid() && (wakes || call.number == SYS_sendmsg)) {
      first = call.number;
    }
    return 0;
  };
  REQUIRE(tracer.follow(note, [&] { return first.has_value(); }));
  return *first == SYS_sendmsg;
}

struct Saved {
  base::Fd memory = memory_file();
  base::Fd state = memory_file();
};

Saved saved_guest(const TinyShape& shape) {
  const bool on_pci = shape.transport == wire::TransportKind::pci;
  Saved saved;
  WorkerProcess worker;
  worker.run(on_pci ? counting_guest_on_pci() : counting_guest(), shape);
  worker.kernel_log(10);
  worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                               {saved.memory.get(), saved.state.get()});
  return saved;
}

}  // namespace

TEST_CASE("restore: at most 60 system calls from the request to the guest") {
  for (const bool plain_io : {false, true}) {
    for (const uint16_t vcpus : {uint16_t{1}, uint16_t{2}}) {
      const TinyShape shape{.vcpus = vcpus};
      const auto saved = saved_guest(shape);
      WorkerProcess worker(plain_io);
      worker.keep_logs();
      worker.shape(shape);
      Tracer tracer(worker.pid());
      worker.send_restore(saved.memory.get(), saved.state.get());
      const auto counts = count_to_first_run(tracer);
      REQUIRE(counts);
      MESSAGE("vcpus " << vcpus << (plain_io ? ", plain io" : ", io_uring") << ": " << counts->calls
                       << " calls, " << counts->ioctls << " of them ioctls");
      CHECK(counts->calls <= 60);
    }
  }
}

TEST_CASE("restore: devices on PCI cost no system call, whatever their interrupts") {
  const auto count_on = [](wire::TransportKind transport) {
    const TinyShape shape{.transport = transport};
    const auto saved = saved_guest(shape);
    WorkerProcess worker;
    worker.shape(shape);
    Tracer tracer(worker.pid());
    worker.send_restore(saved.memory.get(), saved.state.get());
    const auto counts = count_to_first_run(tracer);
    REQUIRE(counts);
    return *counts;
  };
  const Counts mmio = count_on(wire::TransportKind::mmio);
  const Counts pci = count_on(wire::TransportKind::pci);
  MESSAGE("mmio " << mmio.calls << " calls, " << mmio.ioctls << " ioctls; pci " << pci.calls
                  << " calls, " << pci.ioctls << " ioctls");
  CHECK(pci.ioctls == mmio.ioctls);
  CHECK(pci.calls <= 60);
}

TEST_CASE("restore: a network costs no system call") {
  const TinyShape shape{.nets = 1};
  const auto count_with = [&](const TinyShape& with, wire::NetworkKind network) {
    const auto saved = saved_guest(with);
    WorkerProcess worker;
    worker.network = network;
    worker.shape(with);
    Tracer tracer(worker.pid());
    worker.send_restore(saved.memory.get(), saved.state.get());
    const auto counts = count_to_first_run(tracer);
    REQUIRE(counts);
    return counts->calls;
  };
  const unsigned without = count_with({}, wire::NetworkKind::none);
  const unsigned down = count_with(shape, wire::NetworkKind::none);
  const unsigned user = count_with(shape, wire::NetworkKind::user);
  MESSAGE("calls of a restore: " << without << " without a device, " << down << " with one, "
                                 << user << " with microvm-net to come");
  constexpr unsigned kWobble = 2;  // a wait more or less
  CHECK(down <= without + kWobble);
  CHECK(user <= without + kWobble);
}

TEST_CASE("restore: each piece of an overlay costs at most three system calls") {
  WorkerProcess worker;
  worker.run(touching_guest(100, 8 * kPage));
  worker.kernel_log(10);
  const auto captured = capture(worker.owner());
  unsigned pieces = 0;  // fewer where the host gives the guest pages of 2 MiB
  REQUIRE(sys::for_each_data_range(captured.pages.get(), [&](uint64_t, uint64_t) -> Result<void> {
    ++pieces;
    return {};
  }));
  const auto zeros = zero_memory();
  WorkerProcess clone;
  clone.shape();
  Tracer tracer(clone.pid());
  clone.send_restore(zeros.get(), captured.state.get(), {captured.pages.get()});
  const auto counts = count_to_first_run(tracer);
  REQUIRE(counts);
  MESSAGE("overlay of " << pieces << " pieces: " << counts->calls << " calls, " << counts->ioctls
                        << " of them ioctls");
  CHECK(pieces <= 110);
  CHECK(counts->calls > pieces);  // it is the pieces that are counted
  CHECK(counts->calls <= 3 * pieces + 60);
}

TEST_CASE("start: who asked is answered before the guest's thread is woken") {
  const auto saved = saved_guest({});
  WorkerProcess worker;
  worker.shape();
  SUBCASE("restore") {
    CHECK(answers_before_it_wakes(
        worker, [&] { worker.send_restore(saved.memory.get(), saved.state.get()); }));
  }
  SUBCASE("boot") {
    auto booted = std::future<wire::Message>();
    CHECK(answers_before_it_wakes(worker, [&] {
      booted = std::async(std::launch::async, [&] { return worker.boot(counting_guest()); });
    }));
  }
  SUBCASE("resume") {
    REQUIRE(error_code(worker.restore(saved.memory.get(), saved.state.get())) == ErrorCode{});
    worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});
    CHECK(answers_before_it_wakes(worker, [&] { worker.owner().send(wire::ResumeRequest{}); }));
  }
}

TEST_CASE("start: one that outlives its owner does so when that dies before the answer") {
  const auto saved = saved_guest({});
  WorkerProcess worker;
  worker.shape();
  REQUIRE(::kill(worker.pid(), SIGSTOP) == 0);
  worker.send_restore(saved.memory.get(), saved.state.get(), {}, false);
  worker.owner().close();
  REQUIRE(::kill(worker.pid(), SIGCONT) == 0);
  CHECK_FALSE(worker.wait_exit(milliseconds(200)));
  auto client = worker.connect();
  CHECK_FALSE(client.call_for<wire::InfoReply>(wire::InfoRequest{}).paused);
}

TEST_CASE("start: what fails after the answer is the end of the vm, with its reason") {
  const auto saved = saved_guest({});
  WorkerProcess worker;
  worker.shape();
  {
    Tracer tracer(worker.pid());
    worker.send_restore(saved.memory.get(), saved.state.get());
    bool answered = false;
    bool failed = false;
    const auto fail_listening = [&](const Tracer::Call& call) {
      answered = answered || call.number == SYS_sendmsg;
      if (!answered || failed || call.number != SYS_fcntl || call.arguments[1] != F_GETFL) return 0;
      failed = true;
      return EBADF;
    };
    REQUIRE(tracer.follow(fail_listening, [&] { return failed; }));
  }
  CHECK(std::holds_alternative<wire::OkReply>(worker.owner().reply().message));
  const auto end = worker.owner().wait_for<wire::ExitEvent>();
  CHECK(end.reason == wire::ExitEvent::Reason::internal_error);
  CHECK(end.detail.starts_with("listen for clients: "));
  CHECK(worker.wait_exit() == 0);
}

TEST_CASE("shape: the worker's filter does not slow down its processor") {
  WorkerProcess worker;
  Tracer tracer(worker.pid());
  auto shaped = std::async(std::launch::async, [&] { worker.shape(); });
  std::optional<uint64_t> flags;
  const auto note = [&](const Tracer::Call& call) {
    if (call.number == SYS_seccomp) flags = call.arguments[1];
    return 0;
  };
  REQUIRE(tracer.follow(
      note, [&] { return shaped.wait_for(milliseconds(0)) == std::future_status::ready; }));
  shaped.get();
  REQUIRE(flags);
  CHECK(*flags == (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW));
}
