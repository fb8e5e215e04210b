#include "agent/operation/exec.hpp"

#include <csignal>

#include "agent/operation/request.hpp"

namespace microvm::agent {
namespace {

Wish attach_wish(Channel& channel, const microvm_agent_ExecAttachRequest& request) {
  Wish wish{.connection = channel.take(),
            .write = request.write,
            .take_over = request.take_over,
            .pen = request.pen};
  if (request.continues) wish.position = request.position;
  return wish;
}

}  // namespace

Outcome<void> run_exec(Guest& guest, Channel& channel, const FrameHeader& request) {
  auto program = read_program(channel, request);
  if (!program) return fail(program.error());
  guest.freezer.wait_until_running();
  // It may have waited through a snapshot, and this be a clone whose host knows nothing of it.
  if (channel.host_gone()) return {};
  const Counted counted(guest.activity.programs);
  const auto added = guest.execs.add({.id = program->session.id,
                                      .keep = program->session.keep,
                                      .detached = program->session.detached,
                                      .attempt = program->session.attempt});
  if (!added) return fail(added.error());
  if (added->is_new)
    guest.execs.open(added->session, std::move(*program), guest.root_fd, guest.freezer.programs(),
                     channel.take());
  else if (!channel.host_gone())  // a later attempt may be here already
    guest.execs.attach(
        added->session,
        {.connection = channel.take(), .write = true, .take_over = true, .position = 0});
  return {};
}

Outcome<void> run_exec_attach(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto request = read_request<microvm_agent_ExecAttachRequest>(
      channel, header, microvm_agent_ExecAttachRequest_fields, "attach to an exec");
  if (!request) return fail(request.error());
  guest.freezer.wait_until_running();
  if (channel.host_gone()) return {};
  const auto session = guest.execs.find(request->id);
  if (!session) return fail(session.error());
  guest.execs.attach(*session, attach_wish(channel, *request));
  return {};
}

Outcome<void> run_exec_list(Guest& guest, Channel& channel) {
  for (const auto& info : guest.execs.list()) {
    if (!channel.send_message(FrameType::exec_info, microvm_agent_ExecInfo_fields, &info))
      return fail("the host closed the connection", ECONNRESET);
  }
  return {};
}

Outcome<void> run_exec_signal(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto request = read_request<microvm_agent_ExecSignalRequest>(
      channel, header, microvm_agent_ExecSignalRequest_fields, "signal an exec");
  if (!request) return fail(request.error());
  if (request->signal == 0 || request->signal > static_cast<uint32_t>(SIGRTMAX))
    return fail("no such signal: " + std::to_string(request->signal), EINVAL);
  guest.freezer.wait_until_running();
  if (channel.host_gone()) return {};
  const auto session = guest.execs.find(request->id);
  if (!session) return fail(session.error());
  if (request->forget) (*session)->give_up_status();
  return (*session)->signal(static_cast<int>(request->signal));
}

Outcome<void> run_exec_wait(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto request = read_request<microvm_agent_ExecWaitRequest>(
      channel, header, microvm_agent_ExecWaitRequest_fields, "wait for an exec");
  if (!request) return fail(request.error());
  guest.freezer.wait_until_running();
  if (channel.host_gone()) return {};
  const auto session = guest.execs.find(request->id);
  if (!session) return fail(session.error());
  guest.execs.attach(*session, {.connection = channel.take(), .end_only = true});
  return {};
}

}  // namespace microvm::agent
