// Vm::Impl: one microVM as this process sees it, started here or attached to.
#pragma once

#include <mutex>
#include <optional>

#include "host/session/agent_client.hpp"
#include "host/vm/control_client.hpp"
#include "host/vm/core.hpp"
#include "host/vm/vm_record.hpp"
#include "microvm/image.hpp"
#include "microvm/vm.hpp"

namespace microvm {

struct [[gnu::visibility("hidden")]] Vm::Impl {
  Impl(std::shared_ptr<host::Core> shared, host::VmRecord what, ImageConfig image_config);
  // Ends a Vm that dies with its owner when this is the owner; lets any other one be.
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Takes over a guest that was just started.
  void own(host::Worker worker, base::Fd doorbell, const LaunchTimes& launch_times);
  // Connects to a running worker; an ended Vm stays readable.
  void attach();

  [[nodiscard]] bool ended() const { return !client || client->ended(); }
  // Why it ended; call only once it has.
  std::string end_reason();
  Result<void> terminate();
  // Ends it if needed and removes everything.
  Result<void> remove();
  VmInfo info();
  Result<void> check_running(std::string_view what) const;
  Result<std::string> read_log(LogSource source);

  const std::shared_ptr<host::Core> core;
  const host::VmRecord record;
  const ImageConfig config;
  const std::filesystem::path dir;
  std::shared_ptr<host::ControlClient> client;  // none: it had ended when we attached
  std::optional<host::AgentClient> agent;       // as client
  LaunchTimes times;

 private:
  void connect(base::Fd control);
  void kill_stranger();
  void keep_logs();
  void clean_up();

  std::mutex mutex_;  // of what follows: the end of the Vm
  std::optional<host::Worker> worker_;
  base::Fd doorbell_;  // the agent sees by its end that nobody listens any more
  std::optional<std::string> reason_;
  bool cleaned_up_ = false;
  base::Fd kernel_log_;  // kept readable after the directory is gone
  base::Fd app_log_;
};

}  // namespace microvm
