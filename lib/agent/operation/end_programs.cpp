#include "agent/operation/end_programs.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <memory>
#include <string>

#include "agent/base/file.hpp"
#include "agent/base/time.hpp"
#include "agent/operation/start.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kEndTimeoutMs = 10'000;
constexpr int64_t kLookAgainMs = 2;
constexpr size_t kMaxListBytes = 1024 * 1024;

// True when there were some. One that is about to fork a child cannot any more; one that has just
// done so leaves it to the next look.
bool kill_listed(int cgroup) {
  const auto list = read_file(cgroup, "cgroup.procs", kMaxListBytes);
  if (!list) return false;
  const char* const end = list->data() + list->size();
  bool any = false;
  for (const char* at = list->data(); at < end;) {
    pid_t pid = 0;
    const auto [stop, error] = std::from_chars(at, end, pid);
    if (error != std::errc()) break;
    at = stop + 1;
    any = true;
    if (pid > 1) kill(pid, SIGKILL);
  }
  return any;
}

// What a program has made below its cgroup. True when something ran there.
bool kill_nested(int cgroup) {
  const int copy = openat(cgroup, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(copy < 0 ? nullptr : fdopendir(copy), closedir);
  bool any = false;
  while (const dirent* entry = entries ? readdir(entries.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (entry->d_type != DT_DIR || name == "." || name == ".." || name == kCommandCgroup) continue;
    const auto events = read_file(cgroup, (name + "/cgroup.events").c_str(), kMaxListBytes);
    if (!events || events->find("populated 1") == std::string::npos) continue;
    any = true;
    static_cast<void>(write_file_at(cgroup, (name + "/cgroup.kill").c_str(), "1"));
  }
  return any;
}

}  // namespace

Outcome<void> run_end_programs(Guest& guest) {
  const int cgroup = guest.freezer.cgroup();
  if (cgroup < 0) return {};
  const auto deadline = Deadline::after_ms(kEndTimeoutMs);
  for (;;) {
    const bool listed = kill_listed(cgroup);
    const bool nested = kill_nested(cgroup);
    if (!listed && !nested) return {};
    if (deadline.passed())
      return fail("programs do not end within " + std::to_string(kEndTimeoutMs) + " ms", ETIMEDOUT);
    sleep_ms(kLookAgainMs);
  }
}

}  // namespace microvm::agent
