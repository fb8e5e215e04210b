#include "agent/program/file_limit.hpp"

#include <sys/resource.h>

namespace microvm::agent {
namespace {

constexpr rlim_t kManyFiles = 32 * 1024;

rlimit original_limit{};
bool is_raised = false;

}  // namespace

void raise_file_limit() {
  if (getrlimit(RLIMIT_NOFILE, &original_limit) != 0 || original_limit.rlim_cur >= kManyFiles)
    return;
  const rlimit raised{
      .rlim_cur = kManyFiles,
      .rlim_max = original_limit.rlim_max < kManyFiles ? kManyFiles : original_limit.rlim_max};
  is_raised = setrlimit(RLIMIT_NOFILE, &raised) == 0;
}

void restore_file_limit() {
  if (is_raised) setrlimit(RLIMIT_NOFILE, &original_limit);
}

}  // namespace microvm::agent
