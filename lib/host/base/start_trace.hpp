// Where the time of a start goes: each step from the call to the answer of the first exec, as lines
// of text for whoever has set MICROVM_TRACE to a file's name, or to - for standard error. It is of
// the environment, and no option, so that a program in any language can be looked at as it is.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::host {

inline constexpr const char* kTraceVariable = "MICROVM_TRACE";

// Thread-safe.
class TraceFile {
 public:
  explicit TraceFile(base::Fd file) : file_(std::move(file)) {}
  // What the environment asks for; none: nothing. Error: it does not open.
  static Result<std::shared_ptr<TraceFile>> from_environment();
  void write(std::string_view lines);

 private:
  base::Fd file_;
};

// One start. What is marked is written by write_out(), so that looking costs as little as it can.
// Thread-safe.
class StartTrace {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // `what` stands in each line until the Vm has an id.
  StartTrace(std::shared_ptr<TraceFile> file, std::string what,
             Time begin = std::chrono::steady_clock::now());
  ~StartTrace() { write_out(); }
  StartTrace(const StartTrace&) = delete;
  StartTrace& operator=(const StartTrace&) = delete;

  void call_it(std::string_view vm_id);
  // `step` has just been done, or was then.
  void mark(std::string step) { mark(std::move(step), std::chrono::steady_clock::now()); }
  void mark(std::string step, Time when);
  // What was marked since the last time, in the order of time: milliseconds since the call, since
  // the step before, and the step.
  void write_out();

 private:
  struct Step {
    Time when;
    std::string name;
  };
  const std::shared_ptr<TraceFile> file_;
  std::mutex mutex_;  // of what follows
  std::string what_;
  const Time begin_;
  Time before_;
  std::vector<Step> steps_;
};

}  // namespace microvm::host
