// What the host asks of an agent. Every operation has a stream of its own, so operations never wait
// for each other and closing the stream ends what it started.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "host/base/file_to_put.hpp"
#include "host/session/doorbell.hpp"
#include "host/session/frame_stream.hpp"
#include "host/session/stream_home.hpp"
#include "microvm/exec.hpp"
#include "microvm/pty.hpp"

namespace microvm::host {

// How a session reaches its agent. Shared by the sessions and outliving each of them.
class AgentLink {
 public:
  virtual ~AgentLink() = default;
  // A new stream to the agent's operation port.
  virtual Result<base::Fd> open(const Limits& limits) = 0;
  // Why a stream ended early: the Vm's end where that is the reason. `what` begins the message.
  virtual Error broken(std::string_view what) = 0;
  // What it leads to is gone for good: nothing can be reached by it any more.
  [[nodiscard]] virtual bool over() const { return false; }
};

// A program with its complete environment.
struct AgentCommand {
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::string cwd;
  std::string user;
  uint32_t timeout_ms = 0;
  bool stdin_open = false;
  bool no_network = false;  // of a guest of this library only: an older agent does not know it
};

// A program whose handle is a client of it.
struct ExecCommand {
  AgentCommand program;
  std::string id;  // empty: the agent chooses
  bool detached = false;
  bool reattach = false;
  uint64_t attempt = 0;  // random: the same for all attempts of one call
};

// A program for a terminal; without arguments it is the user's shell.
struct PtyCommand {
  AgentCommand program;
  std::string id;  // empty: the agent chooses
  PtySize size;
  PtyWriting writing = PtyWriting::exclusive;
};

// What a guest is busy with (wire/agent.proto, Activity). Its own word.
struct GuestActivity {
  uint32_t programs = 0;
  uint64_t stream_bytes = 0;
  uint64_t cpu_us = 0;
  bool kept_awake = false;
  bool wants_suspend = false;
};

class AgentClient {
 public:
  // The doorbell of the agent is held as long as this object, where the caller has it. An agent
  // that answers there is asked to freeze and to thaw on it, without a connection of their own.
  explicit AgentClient(std::shared_ptr<AgentLink> link, HeldDoorbell doorbell = {})
      : link_(std::move(link)), doorbell_(std::move(doorbell)) {}

  // Returns when the program runs or could not be started (the Exec then tells why). It ends with
  // its stream.
  Result<Exec> exec(const AgentCommand& command, const Limits& limits);
  // The same for one that belongs to the Vm. Errors: already_exists, busy, unsupported.
  Result<Exec> exec(const ExecCommand& command, const std::shared_ptr<StreamHome>& home,
                    const Limits& limits);
  Result<Exec> attach_exec(const std::string& id, const ExecAttachOptions& options,
                           const std::shared_ptr<StreamHome>& home, const Limits& limits);
  Result<std::vector<ExecInfo>> list_execs(const Limits& limits);
  Result<void> signal_exec(const std::string& id, int signal, const Limits& limits);
  // Until it has ended. `begin` are the limits until the agent knows of it; from then on the end of
  // the stream is an error as `home` has it.
  Result<ExitStatus> wait_exec(const std::string& id, const std::shared_ptr<StreamHome>& home,
                               const Limits& begin, const Limits& limits);
  // The same for a program on a terminal.
  Result<Pty> open_pty(const PtyCommand& command, const std::shared_ptr<StreamHome>& home,
                       const Limits& limits);
  // Errors: not_found, busy (someone else writes, or there are too many clients).
  Result<Pty> attach_pty(const std::string& id, const PtyAttachOptions& options,
                         const std::shared_ptr<StreamHome>& home, const Limits& limits);
  Result<std::vector<PtyInfo>> list_ptys(const Limits& limits);
  // Returns when the program has ended. Error: not_found.
  Result<void> close_pty(const std::string& id, const Limits& limits);
  // A byte stream to a TCP port of the guest's loopback. Error: connection_refused.
  Result<base::Fd> tcp_connect(uint16_t port, const Limits& limits);
  Result<void> put_files(const std::vector<FileToPut>& files, const Limits& limits);
  // The guest lets go of what it can read again: an image is better small.
  Result<void> drop_caches(const Limits& limits);
  // Stops the user processes, until thaw() or the end of this object (of this process, for that
  // matter). For an image the guest writes back what it owes to files; a state that is to go on
  // soon keeps all of it. Not from several threads at once, thaw() neither.
  enum class FreezeFor { image, state };
  Result<void> freeze(FreezeFor purpose, const Limits& limits);
  // Lets them go on, with the right clock and a fresh seed.
  Result<void> thaw(const Limits& limits);
  // The guest is gone. As freeze(): not beside it.
  void drop_doorbell() { doorbell_.stream.reset(); }
  // Returns when something listens on the port. Error: deadline_exceeded.
  Result<void> wait_port(uint16_t port, std::chrono::milliseconds timeout, const Limits& limits);
  Result<GuestActivity> activity(const Limits& limits);
  // Kills what programs have left running, but not the image's command. Returns when it is gone.
  Result<void> end_programs(const Limits& limits);
  // Returns when the guest has written everything and is about to power off.
  Result<void> power_off(const Limits& limits);
  // For the operations on files: guest_files.hpp, file_transfer.hpp.
  [[nodiscard]] const std::shared_ptr<AgentLink>& link() const { return link_; }

 private:
  bool can_ask_on_doorbell();
  Result<void> ask_on_doorbell(std::string what, wire::FrameType type, wire::ByteView body,
                               const Limits& limits);

  std::shared_ptr<AgentLink> link_;
  HeldDoorbell doorbell_;
  // The guest's programs are stopped as long as it is open. None: they were by the doorbell.
  base::Fd freeze_;
};

}  // namespace microvm::host
