// What a disk request costs the worker in system calls, counted by ptrace: a guest of a few
// instructions drives the block device itself.
#include <sys/syscall.h>
#include <sys/uio.h>

#include <fstream>
#include <future>
#include <map>

#include "captured.hpp"
#include "tracer.hpp"
#include "unit/host/temp_dir.hpp"
#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/virtio/mmio_registers.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

// In: eax = rounds << 8 | requests in flight. Each round offers that many requests, kicks when the
// device wants it, and looks at the used index until all are back. Slot n has its chain from
// descriptor 3 * n on. The queue has 256 entries, so that the low byte of an index is its place.
// The busy guest keeps that many under way, a new request for each one that is back, and ends when
// as many as there are rounds are.
asm(R"(
  .pushsection .rodata.block_guest, "a", @progbits
  block_guest:
    movzbl %al, %edi
    mov %eax, %r12d
    shr $8, %r12d
    mov $0x601000, %ebx
    mov $0x602000, %ebp
    mov $0xd0000050, %esi
    xor %r8d, %r8d
  1:
    mov %r8d, %r10d
    xor %ecx, %ecx
  2:
    lea (%rcx,%rcx,2), %eax
    movzbl %r8b, %edx
    mov %ax, 4(%rbx,%rdx,2)
    inc %r8d
    inc %ecx
    cmp %edi, %ecx
    jb 2b
    mov %r8w, 2(%rbx)
    mfence
    mov %r8d, %edx
    sub 2052(%rbp), %dx
    dec %edx
    movzwl %dx, %edx
    mov %r8d, %ecx
    sub %r10d, %ecx
    movzwl %cx, %ecx
    cmp %ecx, %edx
    jae 3f
    movl $0, (%rsi)
  3:
    mov %r10w, 516(%rbx)
  4:
    pause
    cmp %r8w, 2(%rbp)
    jne 4b
    dec %r12d
    jnz 1b
  block_guest_end:

  busy_guest:
    movzbl %al, %edi
    mov %eax, %r12d
    shr $8, %r12d
    mov $0x601000, %ebx
    mov $0x602000, %ebp
    mov $0xd0000050, %esi
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r11d, %r11d
  1:
    lea (%r11,%r11,2), %eax
    inc %r11d
  2:
    movzbl %r8b, %edx
    mov %ax, 4(%rbx,%rdx,2)
    mov %r8w, %r10w
    inc %r8d
    mov %r8w, 2(%rbx)
    mfence
    cmp %r10w, 2052(%rbp)
    jne 3f
    movl $0, (%rsi)
  3:
    mov $20, %ecx
  4:
    dec %ecx
    jnz 4b
    cmp %edi, %r11d
    jb 1b
  5:
    cmp %r9w, 2(%rbp)
    jne 6f
    mov %r9w, 516(%rbx)
    pause
    jmp 5b
  6:
    dec %r12d
    jz 7f
    movzbl %r9b, %edx
    mov 4(%rbp,%rdx,8), %eax
    inc %r9d
    jmp 2b
  7:
  busy_guest_end:
  .popsection
)");
extern "C" {
extern const std::byte block_guest[], block_guest_end[], busy_guest[], busy_guest_end[];
}

namespace {

constexpr uint64_t kDescriptors = 0x600000;
constexpr uint64_t kAvailable = 0x601000;
constexpr uint64_t kUsed = 0x602000;
constexpr uint64_t kHeaders = 0x620000;  // a page per slot: header, then status
constexpr uint64_t kData = 0x700000;     // a page per slot
constexpr uint32_t kBlockBytes = 4096;
constexpr uint32_t kReads = 0;
constexpr uint32_t kWrites = 1;

void put(Code& code, uint64_t address, uint32_t value) {
  code.point_at(address).set_eax(value).store_eax();
}

void set_register(Code& code, uint64_t offset, uint32_t value) {
  put(code, vmm::layout::virtio_mmio_address(0) + offset, value);
}

void describe(Code& code, uint32_t index, uint64_t address, uint32_t bytes, uint32_t flags) {
  constexpr uint32_t kNext = 1;
  const uint64_t at = kDescriptors + uint64_t{index} * 16;
  put(code, at, static_cast<uint32_t>(address));
  put(code, at + 8, bytes);
  put(code, at + 12, flags | (flags & kNext) * (index + 1) << 16);
}

void describe_request(Code& code, uint32_t slot, uint32_t type) {
  constexpr uint32_t kNext = 1, kWrite = 2;
  const uint64_t header = kHeaders + uint64_t{slot} * 4096;
  put(code, header, type);
  put(code, header + 8, slot * (kBlockBytes / 512));
  describe(code, slot * 3, header, 16, kNext);
  describe(code, slot * 3 + 1, kData + uint64_t{slot} * kBlockBytes, kBlockBytes,
           type == kReads ? kNext | kWrite : kNext);
  describe(code, slot * 3 + 2, header + 16, 1, kWrite);
}

void start_driver(Code& code) {
  using namespace vmm::mmio;
  constexpr uint32_t kEventIdx = 1u << 29;
  set_register(code, kStatus, kAcknowledge | kDriver);
  set_register(code, kDriverFeaturesSel, 0);
  set_register(code, kDriverFeatures, kEventIdx);
  set_register(code, kDriverFeaturesSel, 1);
  set_register(code, kDriverFeatures, 1);
  set_register(code, kStatus, kAcknowledge | kDriver | kFeaturesOk);
  set_register(code, kQueueSel, 0);
  set_register(code, kQueueSize, 256);
  set_register(code, kQueueDescLow, kDescriptors);
  set_register(code, kQueueDriverLow, kAvailable);
  set_register(code, kQueueDeviceLow, kUsed);
  set_register(code, kQueueReady, 1);
  set_register(code, kStatus, kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
}

struct Requests {
  uint32_t type;
  uint32_t depth;
  uint32_t rounds;
  bool busy = false;
};

Code block_guest_of(const Requests& requests) {
  Code code;
  code.map_devices();
  for (uint32_t slot = 0; slot < requests.depth; ++slot) {
    describe_request(code, slot, requests.type);
  }
  start_driver(code);
  code.set_eax(requests.rounds << 8 | requests.depth);
  code.append(requests.busy ? wire::ByteView{busy_guest, busy_guest_end}
                            : wire::ByteView{block_guest, block_guest_end});
  return code.power_off();
}

// In the page cache, of a file system that can read from there without waiting.
base::Fd cached_file(const test::TempDir& dir) {
  std::ofstream(dir / "base") << std::string(1 << 20, 'b');
  return base::Fd(::open((dir / "base").c_str(), O_RDONLY | O_CLOEXEC));
}

// By their numbers, until the guest has powered off.
std::map<uint64_t, unsigned> count_calls(const Requests& requests, bool plain_io) {
  const test::TempDir dir;
  const auto base = cached_file(dir);
  const auto layer = memory_file();
  WorkerProcess worker(plain_io);
  worker.shape({.disks = 1});
  std::map<uint64_t, unsigned> calls;
  Tracer tracer(worker.pid());
  auto ended = std::async(std::launch::async, [&] {
    worker.boot(block_guest_of(requests), true, {{base.get(), layer.get()}});
    worker.owner().wait_for<wire::ExitEvent>();
  });
  const auto note = [&](const Tracer::Call& call) {
    ++calls[call.number];
    return 0;
  };
  REQUIRE(tracer.follow(
      note, [&] { return ended.wait_for(milliseconds(0)) == std::future_status::ready; }));
  ended.get();
  return calls;
}

constexpr unsigned kRounds = 400;
constexpr unsigned kStartAndEnd = 300;

// Of all kinds.
void check_calls(const std::string& what, const Requests& requests, bool plain_io,
                 unsigned each_round) {
  unsigned sum = 0;
  std::string kinds;
  for (const auto& [number, count] : count_calls(requests, plain_io)) {
    sum += count;
    if (count > kRounds / 8) kinds += " " + std::to_string(number) + ":" + std::to_string(count);
  }
  MESSAGE(what << ": " << sum << " calls for " << requests.rounds << " rounds of " << requests.depth
               << ";" << kinds);
  CHECK(sum <= each_round * requests.rounds + kStartAndEnd);
}

}  // namespace

TEST_CASE("block calls: one request at a time costs two, and its interrupt none") {
  check_calls("reads", {kReads, 1, kRounds}, false, 2);
  check_calls("writes", {kWrites, 1, kRounds}, false, 2);
}

TEST_CASE("block calls: what was kicked together is asked for and answered together") {
  check_calls("reads", {kReads, 32, kRounds}, false, 4);
  check_calls("writes", {kWrites, 32, kRounds}, false, 4);
}

TEST_CASE("block calls: of many under way each costs little more than one") {
  check_calls("reads", {kReads, 32, 8 * kRounds, true}, false, 1);
  check_calls("writes", {kWrites, 32, 8 * kRounds, true}, false, 1);
}

TEST_CASE("block calls: without io_uring a read of what is in the page cache costs four") {
  const test::TempDir dir;
  const auto file = cached_file(dir);
  char byte = 0;
  const iovec one{&byte, 1};
  if (::preadv2(file.get(), &one, 1, 0, RWF_NOWAIT) != 1) {
    MESSAGE("skipped: the temporary directory's file system waits for every read");
    return;
  }
  check_calls("reads", {kReads, 1, kRounds}, true, 4);
}
