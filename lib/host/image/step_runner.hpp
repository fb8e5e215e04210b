// What a build needs of a running guest. The image code knows no Vm: lib/host/vm implements this.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "host/base/file_to_put.hpp"
#include "microvm/cancel.hpp"
#include "microvm/hooks.hpp"
#include "microvm/network.hpp"
#include "wire/shape.hpp"

namespace microvm::host {

// A program of a build step; the environment is complete, nothing is added to it.
struct StepCommand {
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::string cwd = "/";
  std::string user;
  std::chrono::milliseconds timeout{0};  // 0: none; then the guest kills it
  bool no_network = false;
};

struct StepOutcome {
  int exit_code = 0;
  int signal = 0;
  std::string message;  // why it could not be started, else empty
};

[[nodiscard]] bool is_success(const StepOutcome& outcome);
// "exit code 3", "killed by signal 9", or why it could not be started.
[[nodiscard]] std::string how_it_ended(const StepOutcome& outcome);

struct SnapshotSizes {
  uint64_t memory_bytes = 0;
  uint64_t memory_data_bytes = 0;  // not holes
};

// A machine to boot: the kernel's directory in the store, the disk layers bottom first.
struct BuildMachine {
  std::filesystem::path kernel_dir;
  std::vector<std::filesystem::path> read_only_layers;  // the base, then layers of earlier phases
  std::filesystem::path writable_layer;                 // a new, empty file of the build
  std::filesystem::path modules_disk;                   // of the kernel; empty: it has none
  uint64_t memory_bytes = 0;
  uint32_t vcpus = 1;
  wire::TransportKind transport = wire::TransportKind::mmio;
  uint16_t nets = 0;  // network devices
  NetworkOptions network;
};

struct SnapshotFiles {
  std::filesystem::path memory;
  std::filesystem::path state;
};

// A booted or restored guest whose agent answers. Destroying it ends the guest at once.
class BuildGuest {
 public:
  virtual ~BuildGuest() = default;
  [[nodiscard]] virtual uint64_t boot_ms() const = 0;  // power-on → agent ready
  [[nodiscard]] virtual std::string kernel_cmdline() const = 0;

  using OutputSink = std::function<void(std::string_view)>;  // stdout and stderr, as they come
  virtual Result<void> put_files(const std::vector<FileToPut>& files, const CallLimits& limits) = 0;
  virtual Result<StepOutcome> run(const StepCommand& command, const OutputSink& output,
                                  const CallLimits& limits) = 0;
  // Kills what the steps' programs have left running.
  virtual Result<void> end_programs(const CallLimits& limits) = 0;
  // Starts the image's command; its output goes to the app log.
  virtual Result<void> start(const StepCommand& command, const CallLimits& limits) = 0;
  // Waits until the command has ended, and says how; empty when it waits for something itself, as
  // an app does.
  virtual Result<std::optional<StepOutcome>> settle(const CallLimits& limits) = 0;
  // How the command has ended, if it has: what else failed may have failed for that.
  virtual std::optional<StepOutcome> command_end() = 0;
  virtual Result<void> wait_port(uint16_t port, std::chrono::milliseconds timeout,
                                 const CallLimits& limits) = 0;
  // Returns when the app has answered that it is done. Error: guest_failed, saying what it
  // answered.
  virtual Result<void> call_hook(const Hooks& hooks, const HookKind& kind,
                                 const CallLimits& limits) = 0;
  // The last lines of the command's output, for the message of a build that failed.
  virtual std::string app_log() = 0;
  // The guest lets go of what it can read again, to make a smaller snapshot.
  virtual Result<void> drop_caches(const CallLimits& limits) = 0;
  // Freezes the user processes and writes memory and state into the two empty files.
  virtual Result<SnapshotSizes> snapshot(int memory_fd, int state_fd, const CallLimits& limits) = 0;
  // Writes which pages of memory a restored guest has touched since into the empty file. Error
  // unsupported: this kernel cannot tell.
  virtual Result<void> record_working_set(int fd, const CallLimits& limits) = 0;
  // Clean shutdown; the disk layer is complete when it returns.
  virtual Result<void> power_off(const CallLimits& limits) = 0;
};

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual Result<std::unique_ptr<BuildGuest>> boot(const BuildMachine& machine,
                                                   const CallLimits& limits) = 0;
  // A throw-away clone of a snapshot that machine's read-only layers belong to; its own layer goes
  // with it.
  virtual Result<std::unique_ptr<BuildGuest>> restore(const BuildMachine& machine,
                                                      const SnapshotFiles& snapshot,
                                                      const CallLimits& limits) = 0;
};

}  // namespace microvm::host
