#include "agent/operation/end_programs.hpp"

#include <dirent.h>
#include <fcntl.h>

#include <memory>
#include <string>
#include <string_view>

#include "agent/base/cgroup.hpp"
#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kEndTimeoutMs = 10'000;
constexpr std::string_view kCommandGroup = "command";

Outcome<void> end_group(int cgroup) {
  if (auto killed = write_file_at(cgroup, "cgroup.kill", "1"); !killed) return killed;
  if (wait_until_empty(cgroup, kEndTimeoutMs)) return {};
  return fail("programs do not end within " + std::to_string(kEndTimeoutMs) + " ms", ETIMEDOUT);
}

// Groups that programs have made beside their own, as container engines do; one may go meanwhile.
Outcome<void> end_groups_beside(int all) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(
      fdopendir(openat(all, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), closedir);
  if (!entries) return fail_errno("the programs' groups");
  while (const dirent* entry = readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (entry->d_type != DT_DIR || name.front() == '.' || name == kCommandGroup) continue;
    const base::Fd group(openat(all, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!group) continue;
    if (auto ended = end_group(group.get()); !ended) return ended;
  }
  return {};
}

}  // namespace

// Whoever their parent is now, in whatever cgroup below theirs, and with what they are just
// forking (cgroup.kill, since Linux 5.14). Theirs first: they may look after the others.
Outcome<void> run_end_programs(Guest& guest) {
  if (guest.freezer.programs() < 0) return {};
  if (auto ended = end_group(guest.freezer.programs()); !ended) return ended;
  return end_groups_beside(guest.freezer.cgroup());
}

}  // namespace microvm::agent
