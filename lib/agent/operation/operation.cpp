#include "agent/operation/operation.hpp"

#include "agent/files/file_operation.hpp"
#include "agent/files/get_files.hpp"
#include "agent/files/put_files.hpp"
#include "agent/files/watch.hpp"
#include "agent/link/channel.hpp"
#include "agent/operation/activity.hpp"
#include "agent/operation/end_programs.hpp"
#include "agent/operation/exec.hpp"
#include "agent/operation/freeze.hpp"
#include "agent/operation/pty.hpp"
#include "agent/operation/start.hpp"
#include "agent/operation/tcp.hpp"

namespace microvm::agent {
namespace {

// The host may still be sending when an operation fails, so its end is a gentle one.
void send_failed(Channel& channel, const Failed& failure) {
  channel.send_failure(failure);
  channel.close_gently();
}

void reply(Channel& channel, const Outcome<void>& outcome) {
  if (!outcome) return send_failed(channel, outcome.error());
  channel.send_empty(FrameType::ok);
}

// Operations that answer for themselves when they succeed.
void reply_failure(Channel& channel, const Outcome<void>& outcome) {
  if (!outcome) send_failed(channel, outcome.error());
}

// A guest is not idle while its files are carried.
template <class Run>
void move_files(Guest& guest, Channel& channel, const FrameHeader& header, Run run) {
  const Counted counted(guest.activity.programs);
  reply(channel, run(guest.root_fd, channel, header));
}

void wait_port(Guest& guest, Channel& channel, const FrameHeader& header) {
  // The machine ends with the image's command, and the host wants to know what happened first.
  const Command::Witness witness(guest.command);
  reply(channel, run_wait_port(guest, channel, header));
}

void power_off(Guest& guest, Channel& channel) {
  if (channel.send_empty(FrameType::ok)) channel.close_gently();
  guest.stop_machine(guest);
}

void dispatch(Guest& guest, Channel& channel, const FrameHeader& header) {
  switch (header.type) {
    case FrameType::exec:
    case FrameType::exec_open:
      return reply_failure(channel, run_exec(guest, channel, header));
    case FrameType::exec_attach:
      return reply_failure(channel, run_exec_attach(guest, channel, header));
    case FrameType::exec_list:
      return reply(channel, run_exec_list(guest, channel));
    case FrameType::exec_signal:
      return reply(channel, run_exec_signal(guest, channel, header));
    case FrameType::exec_wait:
      return reply_failure(channel, run_exec_wait(guest, channel, header));
    case FrameType::start:
      return run_start(guest, channel, header);
    case FrameType::tcp_connect:
      return reply_failure(channel, run_tcp_connect(guest, channel, header));
    case FrameType::activity:
      return reply_failure(channel, run_activity(guest, channel));
    case FrameType::put_files:
      return move_files(guest, channel, header, [](int root, Channel& files, const FrameHeader&) {
        return run_put_files(root, files);
      });
    case FrameType::get_files:
      return move_files(guest, channel, header, run_get_files);
    case FrameType::put_tree:
      return move_files(guest, channel, header,
                        [&](int root, Channel& files, const FrameHeader& first) {
                          return run_put_tree(root, guest.changes, files, first);
                        });
    case FrameType::file:
    case FrameType::file_again:
      return move_files(guest, channel, header,
                        [&](int root, Channel& files, const FrameHeader& first) {
                          return run_file(root, guest.changes, files, first);
                        });
    case FrameType::watch:  // it looks on, and keeps no guest awake
      return reply(channel, run_watch(guest.root_fd, channel, header));
    case FrameType::freeze:
      return reply_failure(channel, run_freeze(guest, channel, header));
    case FrameType::thaw:
      return reply(channel, run_thaw(guest, channel, header));
    case FrameType::wait_port:
      return wait_port(guest, channel, header);
    case FrameType::power_off:
      return power_off(guest, channel);
    case FrameType::end_programs:
      return reply(channel, run_end_programs(guest));
    case FrameType::pty_open:
      return reply_failure(channel, run_pty_open(guest, channel, header));
    case FrameType::pty_attach:
      return reply_failure(channel, run_pty_attach(guest, channel, header));
    case FrameType::pty_list:
      return reply(channel, run_pty_list(guest, channel));
    case FrameType::pty_close:
      return reply(channel, run_pty_close(guest, channel, header));
    default:
      return send_failed(channel, {EPROTO, "no operation starts with a frame of type " +
                                               std::to_string(static_cast<int>(header.type))});
  }
}

}  // namespace

void serve_operation(Guest& guest, base::Fd connection) {
  Channel channel(std::move(connection));
  const auto header = channel.read_header();
  if (!header) return send_failed(channel, header.error());
  dispatch(guest, channel, *header);
}

}  // namespace microvm::agent
