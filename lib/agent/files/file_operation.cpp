#include "agent/files/file_operation.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "agent/base/file.hpp"
#include "agent/base/open_directory.hpp"
#include "agent/files/file_change.hpp"
#include "agent/files/file_data.hpp"
#include "agent/files/place.hpp"

namespace microvm::agent {
namespace {

Outcome<void> send_stat(int root, Channel& channel, const microvm_agent_FileRequest& request) {
  const base::Fd fd = open_in_root(root, request.path, O_PATH | (request.follow ? 0 : O_NOFOLLOW));
  struct stat status{};
  if (!fd || fstat(fd.get(), &status) != 0) return fail_errno(shown_path(request.path));
  auto entry = describe_file(status);
  copy_text(entry.path, request.path);
  if (S_ISLNK(status.st_mode)) {
    const auto target = read_link(fd.get(), "");
    if (!target) return fail_errno(shown_path(request.path), target.error().error);
    copy_text(entry.link_target, *target);
  }
  return FileSender(channel).send_entry(entry);
}

// One name in a directory; one that went away meanwhile is left out.
Outcome<void> send_name(FileSender& sender, int directory, const char* name) {
  struct stat status{};
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return {};
  auto entry = describe_file(status);
  copy_text(entry.path, name);
  if (S_ISLNK(status.st_mode)) {
    if (const auto target = read_link(directory, name)) copy_text(entry.link_target, *target);
  }
  return sender.send_entry(entry);
}

Outcome<void> send_list(int root, Channel& channel, const microvm_agent_FileRequest& request) {
  OpenDirectory directory(open_in_root(root, request.path, O_RDONLY | O_DIRECTORY));
  if (!directory) return fail_errno(shown_path(request.path));
  FileSender sender(channel);
  while (const char* name = directory.next()) {
    if (auto sent = send_name(sender, directory.fd(), name); !sent) return sent;
  }
  return {};
}

// What is read is what is there, not what the size said: files of /proc have none.
Outcome<void> send_content(int root, Channel& channel, const microvm_agent_FileRequest& request) {
  const std::string shown = shown_path(request.path);
  const base::Fd fd = open_in_root(root, request.path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat status{};
  if (!fd || fstat(fd.get(), &status) != 0) return fail_errno(shown);
  if (S_ISDIR(status.st_mode)) return fail_errno(shown, EISDIR);
  if (!S_ISREG(status.st_mode)) return fail(shown + ": not a regular file", EINVAL);
  if (request.offset != 0 && lseek(fd.get(), static_cast<off_t>(request.offset), SEEK_SET) < 0)
    return fail_errno(shown);
  auto entry = describe_file(status);
  copy_text(entry.path, request.path);
  FileSender sender(channel);
  if (auto sent = sender.send_entry(entry); !sent) return sent;
  const auto sent =
      sender.send_data(fd.get(), request.length == 0 ? UINT64_MAX : request.length, shown);
  if (!sent) return fail(sent.error());
  return {};
}

// `written` is of an append: how much of its data there is already.
Outcome<void> dispatch(int root, Channel& channel, const microvm_agent_FileRequest& request,
                       uint64_t& written) {
  switch (request.action) {
    case microvm_agent_FileRequest_Action_STAT:
      return send_stat(root, channel, request);
    case microvm_agent_FileRequest_Action_LIST:
      return send_list(root, channel, request);
    case microvm_agent_FileRequest_Action_READ:
      return send_content(root, channel, request);
    case microvm_agent_FileRequest_Action_WRITE:
      return write_new_content(root, channel, request);
    case microvm_agent_FileRequest_Action_APPEND:
      return append_content(root, channel, request, written);
    case microvm_agent_FileRequest_Action_MAKE_DIRECTORY:
      return make_directory(root, request);
    case microvm_agent_FileRequest_Action_REMOVE:
      return remove_file(root, request);
    case microvm_agent_FileRequest_Action_RENAME:
      return rename_file(root, request);
  }
  return fail("not something this agent does to files", EPROTO);
}

// Nothing is remembered of one whose data did not come: it is for its next attempt to do.
Outcome<void> dispatch_once(int root, ChangeMemory::Turn& turn, Channel& channel,
                            const FrameHeader& header, const microvm_agent_FileRequest& request) {
  if (turn.answer()) return *turn.answer();
  const bool waits = header.type == FrameType::file_again;
  if (waits && !channel.send_empty(FrameType::go_on)) return fail("the host left", ECONNRESET);
  auto outcome = dispatch(root, channel, request, turn.written_bytes());
  if (!channel.broken()) turn.answer_with(outcome);
  return outcome;
}

}  // namespace

Outcome<void> run_file(int root, ChangeMemory& memory, Channel& channel,
                       const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_FileRequest request = microvm_agent_FileRequest_init_zero;
  if (!decode_message(*body, microvm_agent_FileRequest_fields, &request))
    return fail("a file request is not readable", EPROTO);
  if (request.path[0] != '/')
    return fail(shown_path(request.path) + ": not an absolute path", EINVAL);
  if (request.operation_id.size == ChangeMemory::kIdBytes) {
    auto turn = memory.begin(id_bytes(request.operation_id.bytes));
    return dispatch_once(root, turn, channel, header, request);
  }
  if (header.type == FrameType::file_again) return fail("nothing to do again has no id", EPROTO);
  uint64_t written = 0;
  return dispatch(root, channel, request, written);
}

}  // namespace microvm::agent
