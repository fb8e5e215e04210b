#include "agent/operation/end_programs.hpp"

#include <string>

#include "agent/base/cgroup.hpp"
#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kEndTimeoutMs = 10'000;

}  // namespace

// Whoever their parent is now, in whatever cgroup below theirs, and with what they are just
// forking (cgroup.kill, since Linux 5.14).
Outcome<void> run_end_programs(Guest& guest) {
  const int cgroup = guest.freezer.programs();
  if (cgroup < 0) return {};
  if (auto killed = write_file_at(cgroup, "cgroup.kill", "1"); !killed) return killed;
  if (wait_until_empty(cgroup, kEndTimeoutMs)) return {};
  return fail("programs do not end within " + std::to_string(kEndTimeoutMs) + " ms", ETIMEDOUT);
}

}  // namespace microvm::agent
