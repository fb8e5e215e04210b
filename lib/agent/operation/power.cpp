#include "agent/operation/power.hpp"

#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>

#include "agent/base/cgroup.hpp"
#include "agent/base/file.hpp"
#include "agent/base/kernel_log.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kStopTimeoutMs = 10'000;
constexpr int64_t kKillTimeoutMs = 2000;
constexpr int64_t kLastWordsTimeoutMs = 5000;

// Whoever comes second has nothing left to do.
bool claim_end() {
  static std::atomic<bool> claimed{false};
  return !claimed.exchange(true);
}

void kill_programs(Guest& guest) {
  guest.freezer.close_for_good();
  kill(-1, SIGKILL);  // all but this process
  const int cgroup = guest.freezer.cgroup();
  if (cgroup < 0) return;
  static_cast<void>(write_file_at(cgroup, "cgroup.kill", "1"));
  // A process holds its files until it is gone, and an open file keeps the disk writable.
  static_cast<void>(wait_until_empty(cgroup, kKillTimeoutMs));
}

[[noreturn]] void turn_off() {
  sync();
  reboot(RB_POWER_OFF);
  log_error("power off failed");
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}

[[noreturn]] void end_now(Guest& guest) {
  log_info("the machine ends");
  kill_programs(guest);
  sync();
  mount(nullptr, "/", nullptr, MS_REMOUNT | MS_RDONLY, nullptr);
  turn_off();
}

}  // namespace

void stop_machine(Guest& guest) {
  // A frozen guest may be a clone without an identity: its programs must not run again.
  if (!guest.freezer.frozen() && guest.command.running()) {
    guest.command.signal(SIGTERM);
    if (!guest.command.wait_ended(kStopTimeoutMs)) guest.command.signal(SIGKILL);
    // The thread that watches the command sends its last output, and ends the machine.
    if (guest.command.wait_ended(kKillTimeoutMs)) sleep_ms(kLastWordsTimeoutMs);
  }
  end_machine(guest);
}

void end_machine(Guest& guest) {
  if (claim_end()) end_now(guest);
}

void give_up_booting(std::string_view reason) {
  log_error(std::string("cannot boot: ") + std::string(reason));
  turn_off();
}

}  // namespace microvm::agent
