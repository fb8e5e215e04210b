// The host's clock is set under running guests: only in the rig, where it is nobody's.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>

#include "fixture.hpp"
#include "suite/skip.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr double kHour = 3600;

double read_clock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Steps it, and puts it right in the end.
class HostClock {
 public:
  HostClock() : ahead_(read_clock(CLOCK_REALTIME) - read_clock(CLOCK_MONOTONIC)) {}
  ~HostClock() { set(ahead_); }
  HostClock(const HostClock&) = delete;
  HostClock& operator=(const HostClock&) = delete;
  void step(double seconds) const {
    CHECK(set(read_clock(CLOCK_REALTIME) - read_clock(CLOCK_MONOTONIC) + seconds) == 0);
  }

 private:
  static int set(double ahead) {
    const double to = read_clock(CLOCK_MONOTONIC) + ahead;
    const auto seconds = static_cast<time_t>(to);
    const timespec time{seconds, static_cast<long>((to - static_cast<double>(seconds)) * 1e9)};
    return ::clock_settime(CLOCK_REALTIME, &time);
  }
  const double ahead_;
};

// A program of the guest that tells its two clocks fifty times a second.
class Teller {
 public:
  struct Clocks {
    double wall = 0;
    double monotonic = 0;
  };

  explicit Teller(Vm& vm) {
    ExecOptions options;
    options.argv = {"python3", "-c",
                    "import time\n"
                    "while True:\n"
                    "  print(time.time(), time.monotonic(), flush=True)\n"
                    "  time.sleep(0.02)\n"};
    auto started = vm.exec(options);
    REQUIRE_MESSAGE(started, why(started));
    exec_.emplace(std::move(*started));
  }

  // The newest there is. The monotonic clock never goes back.
  Clocks next() {
    Clocks clocks;
    while (!take_line(clocks)) {
      const auto piece = exec_->read({.timeout = std::chrono::seconds(30)});
      REQUIRE_MESSAGE(piece, why(piece));
      REQUIRE(*piece);
      const auto& data = (*piece)->data;
      text_.append(reinterpret_cast<const char*>(data.data()), data.size());
    }
    CHECK(clocks.monotonic >= last_);
    last_ = clocks.monotonic;
    return clocks;
  }

 private:
  bool take_line(Clocks& clocks) {
    const size_t end = text_.rfind('\n');
    if (end == std::string::npos) return false;
    const size_t before = end == 0 ? std::string::npos : text_.rfind('\n', end - 1);
    const std::string line = text_.substr(before == std::string::npos ? 0 : before + 1);
    text_.erase(0, end + 1);
    REQUIRE(std::sscanf(line.c_str(), "%lf %lf", &clocks.wall, &clocks.monotonic) == 2);
    return true;
  }

  std::optional<Exec> exec_;
  std::string text_;
  double last_ = 0;
};

double off_by(const Teller::Clocks& clocks) {
  return clocks.wall - read_clock(CLOCK_REALTIME);
}

// How long it takes until the guest's wall clock shows what the host's does.
double seconds_to_follow(Teller& teller) {
  const double start = read_clock(CLOCK_MONOTONIC);
  double took = 0;
  while (std::abs(off_by(teller.next())) > 0.5 && took < 30) {
    took = read_clock(CLOCK_MONOTONIC) - start;
  }
  return took;
}

void check_follows(Vm& vm, const HostClock& clock, double step) {
  INFO("a step of ", step, " s");
  Teller teller(vm);
  const Teller::Clocks before = teller.next();
  const double begun = read_clock(CLOCK_MONOTONIC);
  CHECK(std::abs(off_by(before)) < 0.5);
  clock.step(step);
  const double took = seconds_to_follow(teller);
  MESSAGE("a step of ", step, " s was followed within ", took, " s");
  CHECK(took < 3);  // a second, and what two emulators beside each other take
  const double real = read_clock(CLOCK_MONOTONIC) - begun;
  CHECK(std::abs(teller.next().monotonic - before.monotonic - real) < 1);
}

// What the kernel has still to slew, in seconds.
double left_to_slew(Vm& vm) {
  return std::stod(
      shell(vm,
            "python3 -c '\n"
            "import ctypes, struct\n"
            "timex = ctypes.create_string_buffer(struct.pack(\"Iq\", 0xa001, 0), 256)\n"
            "assert ctypes.CDLL(None).adjtimex(timex) >= 0\n"
            "print(struct.unpack_from(\"q\", timex, 8)[0] / 1e6)'"));
}

}  // namespace

TEST_CASE("a running guest's clock follows its host's by an hour, and back after a sleep") {
  if (std::getenv("MICROVM_RIG") == nullptr)
    SKIP_CASE("needs the rig: it sets the machine's clock");
  const HostClock clock;
  RunningVm vm = run_counter();
  check_follows(vm, clock, kHour);
  suspend(vm);
  check_follows(vm, clock, -kHour);
  const auto forks = vm.fork();
  REQUIRE_MESSAGE(forks, why(forks));
  RunningVm fork(forks->front());
  check_follows(fork, clock, kHour);
}

TEST_CASE("a little that a guest's clock is off is slewed, not stepped") {
  if (std::getenv("MICROVM_RIG") == nullptr)
    SKIP_CASE("needs the rig: it sets the machine's clock");
  const HostClock clock;
  RunningVm vm = run_counter();
  CHECK(eventually([&] { return std::abs(left_to_slew(vm)) < 0.02; }));
  clock.step(0.07);
  CHECK(eventually([&] { return left_to_slew(vm) > 0.04; }));
  CHECK(left_to_slew(vm) < 0.1);
}
