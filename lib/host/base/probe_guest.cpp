// The one program in the guest of the deep probe. Without arguments, as the image's command, it
// waits for ever; with one it prints what the guest sees, in a line:
//   monotonic, boot and wall clock in nanoseconds, processors, steps backwards of the monotonic
//   clock while it went from processor to processor, 32 hexadecimal digits of getrandom()
// No C library: nothing of the host is linked, and it is nine kilobytes long.
#include <linux/time.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>

namespace {

long call(long number, long a = 0, long b = 0, long c = 0) {
  long result = number;
  asm volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

template <class T>
long address(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

uint64_t now_ns(long clock) {
  struct {
    int64_t seconds;
    int64_t nanoseconds;
  } time{};
  call(SYS_clock_gettime, clock, address(&time));
  return static_cast<uint64_t>(time.seconds) * 1'000'000'000 +
         static_cast<uint64_t>(time.nanoseconds);
}

unsigned count_cpus() {
  uint64_t allowed = 0;
  call(SYS_sched_getaffinity, 0, sizeof allowed, address(&allowed));
  unsigned count = 0;
  for (; allowed != 0; allowed &= allowed - 1) ++count;
  return count;
}

// On a slow host each move takes milliseconds.
unsigned count_steps_backwards(unsigned cpus) {
  constexpr unsigned kMoves = 400;
  constexpr uint64_t kLongestNs = 100'000'000;
  unsigned steps = 0;
  const uint64_t begin = now_ns(CLOCK_MONOTONIC);
  uint64_t last = begin;
  for (unsigned move = 0; move < kMoves && last < begin + kLongestNs; ++move) {
    const uint64_t on = uint64_t{1} << (move % cpus);
    call(SYS_sched_setaffinity, 0, sizeof on, address(&on));
    const uint64_t now = now_ns(CLOCK_MONOTONIC);
    if (now < last) ++steps;
    last = now;
  }
  return steps;
}

class Line {
 public:
  void number(uint64_t value) {
    char digits[20];
    size_t count = 0;
    do {
      digits[count++] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value != 0);
    while (count > 0) put(digits[--count]);
    put(' ');
  }
  void hex(const unsigned char* bytes, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      put("0123456789abcdef"[bytes[i] >> 4]);
      put("0123456789abcdef"[bytes[i] & 15]);
    }
  }
  void end() {
    put('\n');
    call(SYS_write, 1, address(text_), static_cast<long>(size_));
  }

 private:
  void put(char letter) {
    if (size_ < sizeof text_) text_[size_++] = letter;
  }
  char text_[256];
  size_t size_ = 0;
};

void tell() {
  Line line;
  constexpr long kClocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME};
  for (const long clock : kClocks) {
    line.number(now_ns(clock));
  }
  const unsigned cpus = count_cpus();
  line.number(cpus);
  line.number(count_steps_backwards(cpus == 0 ? 1 : cpus));
  unsigned char random[16] = {};
  call(SYS_getrandom, address(random), sizeof random);
  line.hex(random, sizeof random);
  line.end();
}

}  // namespace

extern "C" [[noreturn]] void probe_guest_main(const long* stack) {
  if (stack[0] > 1) {
    tell();
    call(SYS_exit_group, 0);
  }
  while (true) call(SYS_pause);
}

// The stack begins with the number of arguments.
asm(R"(
  .globl _start
_start:
  movq %rsp, %rdi
  andq $-16, %rsp
  call probe_guest_main
)");
