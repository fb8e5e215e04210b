#include "agent/operation/freeze.hpp"

#include <unistd.h>

#include "agent/base/file.hpp"
#include "agent/clone/identity.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kMaxWarmBytes = 64 * 1024;

// Clean page cache and unused inodes: a smaller snapshot, and fewer pages to bring back.
Outcome<void> drop_caches() {
  return write_file("/proc/sys/vm/drop_caches", "3");
}

// What a clone's identity and its first exec touch shall not have to be read from the disk then.
void warm_files(int root) {
  for (const char* path :
       {"/etc/machine-id", "/etc/hostname", "/etc/hosts", "/etc/passwd", "/etc/group"})
    static_cast<void>(read_file(root, path, kMaxWarmBytes));
}

// A command that has ended takes the machine with it: nothing to make an image of.
Outcome<void> check_command(Guest& guest) {
  const std::string end = guest.command.how_it_ended();
  if (!end.empty()) return fail("freeze: " + end, ECHILD);
  return {};
}

Outcome<void> settle(Guest& guest, const microvm_agent_FreezeRequest& request) {
  if (auto runs = check_command(guest); !runs) return runs;
  if (!request.keep_dirty) sync();
  if (!request.drop_caches) return {};
  auto dropped = drop_caches();
  warm_files(guest.root_fd);
  return dropped;
}

Outcome<microvm_agent_FreezeRequest> read_request(Channel& channel, const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_FreezeRequest request = microvm_agent_FreezeRequest_init_zero;
  if (!decode_message(*body, microvm_agent_FreezeRequest_fields, &request))
    return fail("the freeze request is not readable", EPROTO);
  return request;
}

Outcome<uint64_t> stop_programs(Guest& guest, const microvm_agent_FreezeRequest& request) {
  const auto frozen = guest.freezer.freeze();
  if (!frozen) return frozen;
  if (auto settled = settle(guest, request); !settled) {
    guest.freezer.end(*frozen);
    return fail(settled.error());
  }
  return frozen;
}

// For as long as the host holds the connection. In a clone it is broken, not closed, and the
// identity lets the programs run.
void hold(Guest& guest, Channel& channel, uint64_t freeze) {
  if (channel.send_empty(FrameType::ok) && !channel.wait_closed()) return;
  guest.freezer.end(freeze);
}

}  // namespace

Outcome<void> run_freeze(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto request = read_request(channel, header);
  if (!request) return fail(request.error());
  if (request->keep_running) {
    if (auto settled = settle(guest, *request); !settled) return settled;
    channel.send_empty(FrameType::ok);
    return {};
  }
  const auto frozen = stop_programs(guest, *request);
  if (!frozen) return fail(frozen.error());
  hold(guest, channel, *frozen);
  return {};
}

Outcome<uint64_t> freeze_programs(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto request = read_request(channel, header);
  if (!request) return fail(request.error());
  return stop_programs(guest, *request);
}

Outcome<void> run_thaw(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_Identity identity = microvm_agent_Identity_init_zero;
  if (!decode_message(*body, microvm_agent_Identity_fields, &identity))
    return fail("the thaw request is not readable", EPROTO);
  apply_identity(guest.root_fd, identity);
  guest.freezer.thaw();
  return {};
}

}  // namespace microvm::agent
