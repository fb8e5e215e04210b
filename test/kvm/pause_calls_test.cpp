// What the worker asks KVM for while its guest stands, by which of its threads and in which order.
#include <linux/kvm.h>
#include <sys/syscall.h>

#include <algorithm>
#include <future>
#include <map>
#include <set>

#include "captured.hpp"
#include "tracer.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

constexpr uint16_t kVcpus = 4;

struct KvmCall {
  uint64_t request;
  int fd;
  pid_t thread;
};

// From now until `act` is done.
std::vector<KvmCall> kvm_calls_during(WorkerProcess& worker, const std::function<void()>& act) {
  std::vector<KvmCall> calls;
  Tracer tracer(worker.pid());
  auto done = std::async(std::launch::async, act);
  const auto note = [&](const Tracer::Call& call) {
    if (call.number == SYS_ioctl) {
      calls.push_back(
          {call.arguments[1] & 0xffffffff, static_cast<int>(call.arguments[0]), call.thread});
    }
    return 0;
  };
  REQUIRE(tracer.follow(
      note, [&] { return done.wait_for(milliseconds(0)) == std::future_status::ready; }));
  done.get();
  return calls;
}

// The threads that entered each vCPU.
std::map<int, std::set<pid_t>> enterers(const std::vector<KvmCall>& calls) {
  std::map<int, std::set<pid_t>> threads;
  for (const KvmCall& call : calls) {
    if (call.request == KVM_RUN) threads[call.fd].insert(call.thread);
  }
  return threads;
}

void check_own_threads(WorkerProcess& worker, const std::vector<KvmCall>& calls) {
  std::set<pid_t> all;
  for (const auto& [fd, threads] : enterers(calls)) {
    INFO("vcpu fd " << fd);
    CHECK(threads.size() == 1);
    CHECK(threads.count(worker.pid()) == 0);
    all.insert(threads.begin(), threads.end());
  }
  CHECK(all.size() == enterers(calls).size());
}

}  // namespace

TEST_CASE("pause calls: only its own thread ever enters a vcpu") {
  WorkerProcess worker;
  worker.run(counting_guest(), {.vcpus = kVcpus});
  worker.kernel_log(10);
  const auto calls = kvm_calls_during(worker, [&] {
    for (int round = 0; round < 3; ++round) capture(worker.owner());
    capture(worker.owner(), kStayPaused);
    capture(worker.owner());
    worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
    capture(worker.owner());
  });
  CHECK(enterers(calls).size() == kVcpus);
  check_own_threads(worker, calls);
}

TEST_CASE("pause calls: a clone that is captured at once is entered by its own threads") {
  WorkerProcess source;
  source.run(counting_guest(), {.vcpus = kVcpus});
  source.kernel_log(10);
  const auto captured = capture(source.owner());
  const auto zeros = zero_memory();
  WorkerProcess clone;
  clone.shape({.vcpus = kVcpus});
  const auto calls = kvm_calls_during(clone, [&] {
    clone.send_restore(zeros.get(), captured.state.get(), {captured.pages.get()});
    clone.owner().reply();
    capture(clone.owner());
  });
  CHECK(enterers(calls).size() == kVcpus);
  check_own_threads(clone, calls);
}

TEST_CASE("pause calls: a deadline is read before the interrupt that it becomes") {
  WorkerProcess worker;
  worker.run(counting_guest());
  worker.kernel_log(10);
  const auto calls = kvm_calls_during(worker, [&] { capture(worker.owner(), kStayPaused); });
  const auto apic = std::ranges::find(calls, uint64_t{KVM_GET_LAPIC}, &KvmCall::request);
  REQUIRE(apic != calls.end());
  // Of all MSRs: the one before is of the TSC alone.
  const auto reads_msrs = [&](const KvmCall& call) {
    return (call.request & 0xffff) == (KVM_GET_MSRS & 0xffff) && call.fd == apic->fd;
  };
  const auto before = std::count_if(calls.begin(), apic, reads_msrs);
  const auto after = std::count_if(apic, calls.end(), reads_msrs);
  CHECK(before >= 2);
  CHECK(after == 0);
}
