#include "agent/operation/pty.hpp"

#include <unistd.h>

#include "agent/operation/request.hpp"

namespace microvm::agent {
namespace {

constexpr TerminalSize kDefaultSize{.rows = 24, .columns = 80};
constexpr const char* kDefaultShell = "/bin/sh";
constexpr int64_t kCloseMs = kHangUpMs * 2;

// Of the image's database. An unknown user is for spawn() to report.
std::string login_shell(int root, const std::string& name) {
  const auto user = find_user(root, name);
  if (!user || access(user->shell.c_str(), X_OK) != 0) return kDefaultShell;
  return user->shell;
}

}  // namespace

Outcome<void> run_pty_open(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto request = read_request<microvm_agent_PtyOpenRequest>(
      channel, header, microvm_agent_PtyOpenRequest_fields, "open a terminal");
  if (!request) return fail(request.error());
  Program program;
  program.cwd = request->cwd;
  program.user = request->user;
  if (auto read = read_program_lists(channel, program); !read) return read;
  guest.freezer.wait_until_running();
  // It may have waited through a snapshot, and this be a clone whose host knows nothing of it.
  if (channel.host_gone()) return {};
  if (program.arguments.empty())
    program.arguments.push_back(login_shell(guest.root_fd, program.user));
  const auto size = TerminalSize::from_wire(request->rows, request->columns);
  const auto session = guest.ptys.add({.id = request->id,
                                       .size = size.said() ? size : kDefaultSize,
                                       .shared_writing = request->shared_writing});
  if (!session) return fail(session.error());
  guest.ptys.open(*session, std::move(program), guest.root_fd, guest.freezer.programs(),
                  channel.take());
  return {};
}

Outcome<void> run_pty_attach(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto request = read_request<microvm_agent_PtyAttachRequest>(
      channel, header, microvm_agent_PtyAttachRequest_fields, "attach to a terminal");
  if (!request) return fail(request.error());
  guest.freezer.wait_until_running();
  if (channel.host_gone()) return {};
  const auto session = guest.ptys.find(request->id);
  if (!session) return fail(session.error());
  Wish wish{.connection = channel.take(),
            .write = request->write,
            .take_over = request->take_over,
            .size = TerminalSize::from_wire(request->rows, request->columns)};
  if (request->continues) wish.position = request->position;
  guest.ptys.attach(*session, std::move(wish));
  return {};
}

Outcome<void> run_pty_list(Guest& guest, Channel& channel) {
  for (const auto& info : guest.ptys.list()) {
    if (!channel.send_message(FrameType::pty_info, microvm_agent_PtyInfo_fields, &info))
      return fail("the host closed the connection", ECONNRESET);
  }
  return {};
}

Outcome<void> run_pty_close(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto request = read_request<microvm_agent_PtyCloseRequest>(
      channel, header, microvm_agent_PtyCloseRequest_fields, "close a terminal");
  if (!request) return fail(request.error());
  guest.freezer.wait_until_running();
  const auto session = guest.ptys.find(request->id);
  if (!session) return fail(session.error());
  if (!(*session)->end_program(kCloseMs))
    return fail("terminal \"" + (*session)->id() + "\": its program does not end", ETIMEDOUT);
  guest.ptys.forget(*session);
  return {};
}

}  // namespace microvm::agent
