// The thread of a vCPU, around a guest that does nothing but leave.
#include "vmm/machine/vcpu_thread.hpp"

#include <sched.h>

#include "raw_guest.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using namespace std::chrono_literals;

asm(R"(
  .pushsection .rodata.vcpu_thread_test, "a", @progbits
  leaving_guest:
    outb %al, $0x11
    jmp leaving_guest
  leaving_guest_end:
  .popsection
)");
extern "C" {
extern const std::byte leaving_guest[], leaving_guest_end[];
}

namespace {

struct Running {
  RawGuest guest{{leaving_guest, leaving_guest_end}};
  std::atomic<uint64_t> left{0};
  std::unique_ptr<VcpuThread> thread = must(VcpuThread::start(
      0,
      [this](kvm::Exit&) {
        ++left;
        left.notify_one();
        return true;
      },
      [] {}));

  enum class Vcpu { at_once, later };
  explicit Running(Vcpu vcpu = Vcpu::at_once) {
    if (vcpu == Vcpu::at_once) thread->adopt(std::move(guest.vcpu));
  }

  void wait_until_it_goes_on() const { left.wait(left); }
};

}  // namespace

TEST_CASE("vcpu thread: it parks when asked, and goes on") {
  Running vcpu;
  CHECK(vcpu.thread->parked());
  for (int round = 0; round < 20; ++round) {
    vcpu.thread->run();
    vcpu.wait_until_it_goes_on();
    vcpu.thread->request_park();
    REQUIRE(vcpu.thread->wait_parked(2s));
    const uint64_t parked = vcpu.left;
    for (int look = 0; look < 100; ++look) ::sched_yield();  // it would be let in
    CHECK(vcpu.left == parked);
  }
}

TEST_CASE("vcpu thread: a request to park that meets it on its way into the guest is not lost") {
  Running vcpu;
  for (int round = 0; round < 1000; ++round) {
    vcpu.thread->run();
    vcpu.thread->request_park();
    REQUIRE(vcpu.thread->wait_parked(2s));
  }
}

TEST_CASE("vcpu thread: a request to park that was taken back at once leaves nothing behind") {
  Running vcpu;
  vcpu.thread->run();
  for (int round = 0; round < 200; ++round) {
    vcpu.wait_until_it_goes_on();
    vcpu.thread->request_park();
    vcpu.thread->run();
  }
  vcpu.wait_until_it_goes_on();
}

TEST_CASE("vcpu thread: one without a vcpu stays parked, and runs the one it gets later") {
  Running spare(Running::Vcpu::later);
  CHECK(spare.thread->parked());
  spare.thread->request_park();
  spare.thread->settle();
  CHECK(spare.thread->wait_parked(0ms));
  CHECK(spare.thread->exits() == 0);
  spare.thread->adopt(std::move(spare.guest.vcpu));
  CHECK(spare.thread->parked());
  spare.thread->run();
  spare.wait_until_it_goes_on();
}

TEST_CASE("vcpu thread: what was to travel with the first run is in KVM when it has settled") {
  Running vcpu;
  constexpr uint64_t kValue = 0x5555;
  auto& own = vcpu.thread->vcpu();
  kvm_regs regs = must(own.regs());
  regs.rbx = kValue;
  must(own.set_regs_and_events_on_run(regs, must(own.events())));
  for (int round = 0; round < 3; ++round) {
    vcpu.thread->settle();
    REQUIRE(vcpu.thread->wait_parked(2s));
    CHECK(must(own.regs()).rbx == kValue);
    CHECK(must(own.regs()).rip == regs.rip);
    CHECK(vcpu.left == 0);
    CHECK(vcpu.thread->exits() == 1);
  }
  vcpu.thread->run();
  vcpu.wait_until_it_goes_on();
}

TEST_CASE("vcpu thread: one that never got a vcpu ends") {
  const Running spare(Running::Vcpu::later);
}
