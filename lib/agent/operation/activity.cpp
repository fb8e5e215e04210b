#include "agent/operation/activity.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

#include "agent/base/file.hpp"
#include "agent/operation/guest.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kMaxStatBytes = 4096;

// "usage_usec 1234\n" of the programs' cgroup; 0 when the kernel does not say.
uint64_t cpu_us(int cgroup) {
  if (cgroup < 0) return 0;
  const auto text = read_file(cgroup, "cpu.stat", kMaxStatBytes);
  constexpr std::string_view kKey = "usage_usec ";
  if (!text) return 0;
  const size_t at = text->find(kKey);
  if (at == std::string::npos) return 0;
  uint64_t value = 0;
  std::from_chars(text->data() + at + kKey.size(), text->data() + text->size(), value);
  return value;
}

bool exists(int root, const char* path) {
  return static_cast<bool>(open_in_root(root, path, O_PATH | O_NOFOLLOW));
}

// It counts once.
bool take(int root, const char* path) {
  if (!exists(root, path)) return false;
  const base::Fd directory = open_in_root(root, "/run/microvm", O_PATH | O_DIRECTORY | O_NOFOLLOW);
  return directory && unlinkat(directory.get(), "suspend", 0) == 0;
}

}  // namespace

Outcome<void> run_activity(Guest& guest, Channel& channel) {
  microvm_agent_Activity activity = microvm_agent_Activity_init_zero;
  activity.programs =
      guest.activity.programs.load() + guest.ptys.count_in_use() + guest.execs.count_in_use();
  activity.stream_bytes = guest.activity.stream_bytes.load();
  activity.cpu_us = cpu_us(guest.freezer.cgroup());
  activity.kept_awake = exists(guest.root_fd, kKeepAwakeFile);
  activity.wants_suspend = take(guest.root_fd, kSuspendFile);
  if (!channel.send_message(FrameType::activity_report, microvm_agent_Activity_fields, &activity))
    return fail_errno("activity");
  return {};
}

}  // namespace microvm::agent
