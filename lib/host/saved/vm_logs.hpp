// The logs of a Vm in its directory. Its worker keeps them in the file "logs" while it runs
// (state/kept_logs.hpp); kernel.log and app.log are written at its end, for older versions of the
// library, whose workers in turn write nothing else. What was written last counts.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "microvm/vm.hpp"

namespace microvm::host {

inline constexpr const char* kKernelLogFile = "kernel.log";
inline constexpr const char* kAppLogFile = "app.log";

struct LogFiles {
  base::Fd kept;
  base::Fd kernel;
  base::Fd app;
};
// Those that are there, for reading.
LogFiles open_logs(const std::filesystem::path& vm_dir);
Result<LogFiles> duplicate_logs(const LogFiles& files);

struct LogText {
  uint64_t begin = 0;   // its position among all bytes that the log ever had
  std::string text;     // at most 256 KiB
  bool is_kept = true;  // false: only older workers have written it, or none has come to it
};
// Of a Vm without a worker. Errors: corrupt, unsupported (made by a newer version), io.
Result<LogText> read_log(const LogFiles& files, LogSource source);

// For the next worker, which goes on where the last one was: what an older one has written since is
// taken in. Invalid: the file is of a newer version.
Result<base::Fd> make_kept_logs(const std::filesystem::path& vm_dir);

}  // namespace microvm::host
