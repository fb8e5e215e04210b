#include "agent/clone/identity.hpp"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <string_view>

#include "agent/base/file.hpp"
#include "agent/base/kernel_log.hpp"
#include "agent/base/time.hpp"
#include "agent/clone/boot_id.hpp"
#include "agent/clone/host_names.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kMachineIdDigits = 32;

bool is_lower_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool is_machine_id(std::string_view text) {
  return text.size() == kMachineIdDigits && std::all_of(text.begin(), text.end(), is_lower_hex);
}

bool is_hostname(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '.';
  });
}

// The seed counts as entropy, and the generator starts afresh from it.
Outcome<void> seed_random(const microvm_agent_Identity& identity) {
  alignas(rand_pool_info) std::byte buffer[sizeof(rand_pool_info) + sizeof identity.seed.bytes]{};
  auto* pool = reinterpret_cast<rand_pool_info*>(buffer);
  pool->entropy_count = static_cast<int>(identity.seed.size) * 8;
  pool->buf_size = static_cast<int>(identity.seed.size);
  std::memcpy(pool->buf, identity.seed.bytes, identity.seed.size);
  const base::Fd random(open("/dev/urandom", O_WRONLY | O_CLOEXEC));
  if (!random || ioctl(random.get(), RNDADDENTROPY, pool) != 0 ||
      ioctl(random.get(), RNDRESEEDCRNG) != 0)
    return fail_errno("seed the kernel's random numbers");
  return {};
}

Outcome<void> set_clock(int64_t realtime_ns) {
  const timespec now{.tv_sec = realtime_ns / kNsPerSecond, .tv_nsec = realtime_ns % kNsPerSecond};
  if (clock_settime(CLOCK_REALTIME, &now) != 0) return fail_errno("set the clock");
  return {};
}

// In place: no program is looking (none has started, or all are frozen), and a clone need not read
// the disk's allocation maps for a new file. False: there is no such regular file.
bool overwrite_file(int root, const char* path, std::string_view content) {
  const base::Fd file = open_in_root(root, path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
  const auto size = static_cast<off_t>(content.size());
  struct stat status{};
  return file && fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
         pwrite(file.get(), content.data(), content.size(), 0) == size &&
         (status.st_size == size || ftruncate(file.get(), size) == 0);
}

Outcome<void> set_hostname(int root, std::string_view hostname) {
  if (!is_hostname(hostname)) return fail("hostname \"" + std::string(hostname) + "\": not valid");
  if (sethostname(hostname.data(), hostname.size()) != 0) return fail_errno("sethostname");
  auto written = write_hostname(root, hostname);
  auto known = write_hosts(root, hostname);
  return written ? known : written;
}

Outcome<void> set_machine_id(int root, std::string_view machine_id) {
  if (!is_machine_id(machine_id))
    return fail("machine-id \"" + std::string(machine_id) + "\": not 32 lower-case hex digits");
  const std::string content = std::string(machine_id) + "\n";
  if (overwrite_file(root, "/etc/machine-id", content)) return {};
  return replace_file(root, "/etc", "machine-id", content, 0444);
}

void report(const Outcome<void>& outcome) {
  if (!outcome) log_error("identity: " + outcome.error().message);
}

}  // namespace

void apply_identity(int root, const microvm_agent_Identity& identity) {
  if (identity.seed.size != 0) report(seed_random(identity));
  if (identity.realtime_ns > 0) report(set_clock(identity.realtime_ns));
  if (identity.hostname[0] != '\0') report(set_hostname(root, identity.hostname));
  if (identity.machine_id[0] != '\0') report(set_machine_id(root, identity.machine_id));
  if (identity.boot_id[0] != '\0') report(set_boot_id(identity.boot_id));
}

}  // namespace microvm::agent
