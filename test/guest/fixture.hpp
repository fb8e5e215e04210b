// What the guest tests share: one data directory with kernel, base and the counter image, built
// once.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "microvm/runtime.hpp"

namespace guest_test {

inline constexpr uint64_t kGuestMemory = 192ull << 20;
inline constexpr uint16_t kCounterPort = 8080;

// The message of a Result's error, for INFO and CHECK.
template <class T>
std::string why(const microvm::Result<T>& result) {
  return result ? "ok"
                : std::string(error_code_name(result.error().code)) + ": " + result.error().message;
}

// A directory below the system's temporary one, removed at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const;

 private:
  std::filesystem::path path_;
};

// With kernel and base imported and "counter" built at the first call; the tests run in one thread.
microvm::Runtime& runtime();
const std::filesystem::path& data_dir();

// Ends with its scope: a dropped handle alone would leave it to the Runtime.
class RunningVm : public microvm::Vm {
 public:
  explicit RunningVm(microvm::Vm vm) : Vm(std::move(vm)) {}
  RunningVm(RunningVm&& other) noexcept : Vm(other), armed_(std::exchange(other.armed_, false)) {}
  RunningVm& operator=(RunningVm&&) = delete;
  ~RunningVm();

 private:
  bool armed_ = true;
};

RunningVm run_counter(const microvm::RunOptions& options = {});
// One that outlives this process, so that others may change it.
RunningVm run_detached();
microvm::SuspendTimes suspend(microvm::Vm& vm);
// Standard output of a shell script that must succeed.
std::string shell(microvm::Vm& vm, const std::string& script);
microvm::ExecResult shell_result(microvm::Vm& vm, const std::string& script);
// Body of a GET of the app.
std::string http_get(microvm::Vm& vm, const std::string& path);

// What was told until now of one, or, without an id, of all.
std::vector<microvm::VmEvent> events_of(const std::string& vm_id);

// The image's directory in the store.
std::filesystem::path image_dir(const std::string& name, const std::string& version);
std::string file_digest(const std::filesystem::path& path);

// The CLI in a process of its own, on the same data directory.
struct CliResult {
  int code = 0;
  std::string out;  // and standard error
};
CliResult run_cli(const std::vector<std::string>& arguments);
// A shell's line in which "microvm" is the CLI, which is ended after a minute.
CliResult run_line(const std::string& line);
// The CLI's arguments, put together before a fork.
class CliWords {
 public:
  explicit CliWords(const std::vector<std::string>& arguments);
  CliWords(const CliWords&) = delete;
  CliWords& operator=(const CliWords&) = delete;
  [[noreturn]] void execute() const;

 private:
  std::vector<std::string> texts_;
  std::vector<char*> words_;
};
// As run_cli(), not waited for.
pid_t start_cli(const std::vector<std::string>& arguments);
// Its exit status; -1: a signal ended it.
int wait_for(pid_t child);
// Of one that ends within `seconds`, 128 + signal when one ended it; -1: it does not, and is
// killed.
int status_within(pid_t child, double seconds);

// Processes named like workers that are still there.
size_t count_workers();
// Without the store's own files, whose names begin with a dot.
size_t entries_in(const std::filesystem::path& dir);

// What the store, and this process, hold; nothing is left when it is the same before and after.
struct Holdings {
  size_t workers = 0;
  size_t fds = 0;  // of this process
  size_t temp_entries = 0;
  size_t vms = 0;
  size_t images = 0;
  bool operator==(const Holdings&) const = default;
};
Holdings count_holdings();
// Once the pool has the worker it misses.
Holdings settled_holdings();
// Waits for what is still ending.
void check_nothing_left(const Holdings& before);
std::ostream& operator<<(std::ostream& out, const Holdings& holdings);

// Entries of the store ("kernels", "images") under the same names in another data directory.
void copy_store(const std::filesystem::path& to, const std::vector<std::string>& names);

bool has(const std::string& text, const std::string& part);

// True once `condition` holds; the rig is slow.
template <class F>
bool eventually(F condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

template <class F>
double seconds_of(F work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace guest_test
