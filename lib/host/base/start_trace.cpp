#include "host/base/start_trace.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace microvm::host {
namespace {

// Of a handle that is never done with its first exec.
constexpr size_t kMaxSteps = 256;

double ms(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

// Not for who runs with more rights than he who set the environment.
Result<std::shared_ptr<TraceFile>> TraceFile::from_environment() {
  const char* name = ::secure_getenv(kTraceVariable);
  if (name == nullptr || *name == '\0') return std::shared_ptr<TraceFile>();
  const bool is_stderr = std::string_view(name) == "-";
  base::Fd file(is_stderr ? ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)
                          : ::open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return base::fail_errno(std::string(kTraceVariable) + "=" + name);
  return std::make_shared<TraceFile>(std::move(file));
}

// Whole lines in one write, so that those of several processes do not mix. A trace that does not
// fit on the disk is no reason for anything.
void TraceFile::write(std::string_view lines) {
  [[maybe_unused]] const auto put = ::write(file_.get(), lines.data(), lines.size());
}

StartTrace::StartTrace(std::shared_ptr<TraceFile> file, std::string what, Time begin)
    : file_(std::move(file)), what_(std::move(what)), begin_(begin), before_(begin) {}

void StartTrace::call_it(std::string_view vm_id) {
  const std::scoped_lock lock(mutex_);
  what_ = vm_id;
}

void StartTrace::mark(std::string step, Time when) {
  const std::scoped_lock lock(mutex_);
  if (steps_.size() < kMaxSteps) steps_.push_back({when, std::move(step)});
}

void StartTrace::write_out() {
  const std::scoped_lock lock(mutex_);
  std::ranges::stable_sort(steps_, {}, &Step::when);
  std::string lines;
  for (const Step& step : steps_) {
    char times[64];
    std::snprintf(times, sizeof times, " %9.3f %+8.3f  ", ms(step.when - begin_),
                  ms(step.when - std::exchange(before_, step.when)));
    lines += what_ + times + step.name + "\n";
  }
  steps_.clear();
  if (!lines.empty()) file_->write(lines);
}

}  // namespace microvm::host
