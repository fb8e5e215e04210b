// What a restored guest may not miss: that it is another one now, and the processor it was made on.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "captured.hpp"
#include "raw_guest.hpp"
#include "state_file.hpp"
#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"
#include "vmm/platform/generation_id.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using state::SectionId;
using x86_64::CpuidTable;

namespace {

constexpr uint8_t kGenerationVector = 0x39;
constexpr uint32_t kBrandLeaf = 0x80000002;

struct Snapshot {
  base::Fd memory = memory_file();
  base::Fd state = memory_file();
};

Snapshot take(WorkerProcess& worker) {
  Snapshot snapshot;
  worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                               {snapshot.memory.get(), snapshot.state.get()});
  return snapshot;
}

Snapshot snapshot_of(const Code& guest) {
  WorkerProcess worker;
  worker.run(guest);
  worker.kernel_log(20);
  return take(worker);
}

// The state file may be another one than that of the snapshot.
ErrorCode restore(WorkerProcess& worker, const Snapshot& snapshot, const std::string& state) {
  worker.shape();
  return error_code(worker.restore(snapshot.memory.get(), memory_file(state).get()));
}

std::string guid_in(const base::Fd& memory) {
  std::string guid(sizeof(GenerationGuid), '\0');
  REQUIRE(::pread(memory.get(), guid.data(), guid.size(), layout::kGenerationIdPage) ==
          static_cast<ssize_t>(guid.size()));
  return guid;
}

// Takes interrupts of the generation id's pin, which then wait at the local APIC for good, and
// counts.
Code listening_guest() {
  constexpr uint32_t kRedirection = 0x10 + 2 * layout::kGenerationIdGsi;
  constexpr uint32_t kSpuriousVector = 0xf0;
  constexpr uint32_t kApicEnabled = 0x1ff;
  Code code;
  code.map_devices().map_device_page(layout::kIoApic).map_device_page(layout::kLocalApic);
  const auto store = [&](uint64_t address, uint32_t value) {
    code.point_at(address).set_eax(value).store_eax();
  };
  store(layout::kLocalApic + kSpuriousVector, kApicEnabled);
  store(layout::kIoApic, kRedirection);
  store(layout::kIoApic + 0x10, kGenerationVector);
  return code.count_forever();
}

// Whether the local APIC has taken the interrupt: its request registers, SDM vol. 3 §11.8.4.
bool generation_interrupt_waits(const Snapshot& snapshot) {
  const std::string bytes = read_file(snapshot.state.get());
  const auto vcpu = x86_64::decode_vcpu(body_of(bytes, SectionId::vcpu));
  REQUIRE(vcpu);
  constexpr size_t kRequests = 0x200 + kGenerationVector / 32 * 0x10;
  uint32_t word = 0;
  std::memcpy(&word, vcpu->lapic.regs + kRequests, sizeof word);
  return (word >> kGenerationVector % 32 & 1) != 0;
}

// A snapshot in which it has come. The host gives a pin's interrupt to the guest from a work queue,
// which on a busy machine may be behind the guest.
Snapshot take_told(WorkerProcess& clone) {
  for (int i = 0; i < 500; ++i) {
    Snapshot own = take(clone);
    if (generation_interrupt_waits(own)) return own;
    ::usleep(10'000);
  }
  return take(clone);
}

CpuidTable table_of(const std::string& state) {
  auto table = CpuidTable::decode(body_of(state, SectionId::cpuid));
  REQUIRE(table);
  return std::move(*table);
}

// The snapshot's state as another processor would have made it.
std::string with_cpuid(const std::string& state,
                       const std::function<void(kvm_cpuid_entry2&)>& change) {
  const CpuidTable table = table_of(state);
  wire::ByteWriter out;
  out.put(static_cast<uint32_t>(table.entries().size()));
  for (kvm_cpuid_entry2 e : table.entries()) {
    change(e);
    for (const uint32_t field : {e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx}) {
      out.put(field);
    }
  }
  return with_body(state, SectionId::cpuid, 0, out.take());
}

// Prints the first letter of the processor's name again and again.
Code naming_guest() {
  Code code;
  const size_t top = code.here();
  code.cpuid(kBrandLeaf).write_al_to_port(layout::kSerialPort).spin(200);
  return code.jump_to(top);
}

}  // namespace

TEST_CASE("restore: every clone has a generation id of its own, and is told so") {
  const Snapshot origin = snapshot_of(listening_guest());
  CHECK_FALSE(generation_interrupt_waits(origin));
  const std::string state = read_file(origin.state.get());
  std::set<std::string> ids{std::string(sizeof(GenerationGuid), '\0'), guid_in(origin.memory)};
  REQUIRE(ids.size() == 2);
  for (size_t number = 0; number < 3; ++number) {
    WorkerProcess clone;
    REQUIRE(restore(clone, origin, state) == ErrorCode{});
    clone.kernel_log(20);
    const Snapshot own = take_told(clone);
    ids.insert(guid_in(own.memory));
    CHECK(ids.size() == number + 3);
    CHECK(generation_interrupt_waits(own));
  }
}

TEST_CASE("restore: a clone over overlays has a generation id of its own too") {
  WorkerProcess worker;
  worker.run(listening_guest());
  worker.kernel_log(20);
  const auto captured = capture(worker.owner(), kAllPages);
  std::set<std::string> ids{guid_in(captured.pages)};
  const auto zeros = zero_memory();
  for (size_t number = 0; number < 2; ++number) {
    WorkerProcess clone;
    REQUIRE(start_clone(clone, zeros, {&captured}) == ErrorCode{});
    clone.kernel_log(20);
    const Snapshot own = take_told(clone);
    ids.insert(guid_in(own.memory));
    CHECK(ids.size() == number + 2);
    CHECK(generation_interrupt_waits(own));
  }
}

TEST_CASE("restore: a resume of the same worker is no new guest") {
  WorkerProcess worker;
  worker.run(listening_guest());
  worker.kernel_log(20);
  const Snapshot first = take(worker);
  worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
  worker.kernel_log(60);
  const Snapshot second = take(worker);
  CHECK(guid_in(first.memory) == guid_in(second.memory));
  CHECK_FALSE(generation_interrupt_waits(second));
}

TEST_CASE("restore: a processor that this host can not be is refused, whatever it lacks") {
  const Snapshot origin = snapshot_of(counting_guest());
  const std::string state = read_file(origin.state.get());
  const auto code_with = [&](const std::function<void(kvm_cpuid_entry2&)>& change) {
    WorkerProcess worker;
    const ErrorCode code = restore(worker, origin, with_cpuid(state, change));
    worker.owner().send(wire::TerminateRequest{});
    CHECK(worker.wait_exit() == 0);
    return code;
  };
  CHECK(code_with([](auto&) {}) == ErrorCode{});
  CHECK(code_with([](auto& e) {
          if (e.function == 0) e.ebx ^= 1;  // the vendor
        }) == ErrorCode::incompatible_cpu);
  CHECK(code_with([](auto& e) {
          if (e.function == 1) e.ecx = ~0u;
        }) == ErrorCode::incompatible_cpu);
  CHECK(code_with([](auto& e) {
          if (e.function == 7 && e.index == 0) e.ebx = e.ecx = e.edx = ~0u;
        }) == ErrorCode::incompatible_cpu);
  CHECK(code_with([](auto& e) {
          if (e.function == 0xd && e.index == 0) e.eax |= 1u << 19;  // an XSAVE component
        }) == ErrorCode::incompatible_cpu);
}

TEST_CASE("restore: a guest to which an older library showed more goes on here") {
  const Snapshot origin = snapshot_of(counting_guest());
  const std::string state = read_file(origin.state.get());
  const auto older = CpuidTable::for_host(shared_kvm(), 1, CpuidTable::Guest::of_snapshot);
  if (older == table_of(state)) MESSAGE("a new guest is shown all of this processor");
  WorkerProcess clone;
  REQUIRE(restore(clone, origin, with_body(state, SectionId::cpuid, 0, older.encode())) ==
          ErrorCode{});
  clone.kernel_log(20);
  const Snapshot own = take(clone);
  CHECK(table_of(read_file(own.state.get())) == older);
}

TEST_CASE("restore: a guest that relies on what this processor does not promise is refused") {
  const Snapshot origin = snapshot_of(counting_guest());
  const std::string state = read_file(origin.state.get());
  const auto complaint = [&](uint64_t capabilities) {
    wire::ByteWriter body;
    body.put(capabilities);
    const auto file = memory_file(with_section(state, SectionId::cpu_capabilities, 1, body.take()));
    WorkerProcess worker;
    worker.shape();
    const auto reply = worker.restore(origin.memory.get(), file.get());
    const auto* error = std::get_if<wire::ErrorReply>(&reply);
    if (error == nullptr) return std::string();
    CHECK(error_code(reply) == ErrorCode::incompatible_cpu);
    return error->message;
  };
  CHECK(complaint(shared_kvm().arch_capabilities()) == "");
  CHECK(complaint(~uint64_t{0}).find("promises") != std::string::npos);
}

TEST_CASE("restore: where it can be, the guest keeps the processor it was made on") {
  const Snapshot origin = snapshot_of(naming_guest());
  const std::string state = read_file(origin.state.get());
  constexpr uint8_t kName = '~';
  const std::string other = with_cpuid(state, [](auto& e) {
    if (e.function == kBrandLeaf) e.eax = (e.eax & ~0xffu) | kName;
    if (e.function == 7 && e.index == 0) e.ebx = 0;  // it had less than this host
  });
  REQUIRE_FALSE(table_of(other) == table_of(state));
  WorkerProcess clone;
  REQUIRE(restore(clone, origin, other) == ErrorCode{});
  const std::string said = clone.kernel_log(20);
  CHECK(std::ranges::count(said, kName) >= 18);  // it may have stood between reading and saying
  const Snapshot own = take(clone);
  CHECK(table_of(read_file(own.state.get())) == table_of(other));

  WorkerProcess grandchild;
  REQUIRE(restore(grandchild, own, read_file(own.state.get())) == ErrorCode{});
  CHECK(grandchild.kernel_log(20).back() == kName);
}

TEST_CASE("restore: the worker tells when it did what, and answers before it runs") {
  const Snapshot origin = snapshot_of(counting_guest());
  WorkerProcess clone;
  CHECK(restore(clone, origin, read_file(origin.state.get())) == ErrorCode{});
  clone.kernel_log(20);
  const auto steps = clone.owner().call_for<wire::InfoReply>(wire::InfoRequest{}).steps;
  const std::array in_order = {uint64_t{1},   steps.devices,  steps.state,  steps.memory,
                               steps.applied, steps.answered, steps.entered};
  CHECK(std::ranges::is_sorted(in_order));
  CHECK(steps.received_at_ns > 0);
  CHECK(steps.pages == 0);  // it was given no working set
  CHECK(steps.rang == 0);   // and has no agent
}
