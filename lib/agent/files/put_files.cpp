#include "agent/files/put_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "agent/files/change_memory.hpp"
#include "agent/files/file_data.hpp"
#include "agent/files/replacement.hpp"

namespace microvm::agent {
namespace {

// A directory or link, of which there may be no descriptor to write through.
bool set_entry_attributes(int parent, const char* name, const microvm_agent_FileEntry& entry) {
  const timespec time = time_of_ns(entry.mtime_ns);
  const std::array times{time, time};
  return fchownat(parent, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) == 0 &&
         utimensat(parent, name, times.data(), AT_SYMLINK_NOFOLLOW) == 0;
}

// Through the descriptor: a name in a directory of the guest's users may be anything a moment
// later.
bool set_open_attributes(int fd, const microvm_agent_FileEntry& entry) {
  const timespec time = time_of_ns(entry.mtime_ns);
  const std::array times{time, time};
  return set_attributes(fd, {entry.uid, entry.gid, entry.mode & 07777}) &&
         futimens(fd, times.data()) == 0;
}

Outcome<void> put_directory(const Place& place, const microvm_agent_FileEntry& entry) {
  const char* name = place.name.c_str();
  if (mkdirat(place.parent.get(), name, 0700) == 0) {
    const base::Fd made(
        openat(place.parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (made && set_open_attributes(made.get(), entry)) return {};
    return fail_errno(entry.path);
  }
  if (errno != EEXIST) return fail_errno(entry.path);
  struct stat status{};
  if (fstatat(place.parent.get(), name, &status, 0) == 0 && S_ISDIR(status.st_mode)) return {};
  return fail_errno(entry.path, ENOTDIR);
}

Outcome<void> put_symlink(const Place& place, const microvm_agent_FileEntry& entry) {
  Replacement replacement(place, entry.path);
  if (symlinkat(entry.link_target, place.parent.get(), replacement.name()) != 0 ||
      !set_entry_attributes(place.parent.get(), replacement.name(), entry))
    return replacement.failed();
  return replacement.commit();
}

// A second name of a file; owner, mode and times are the file's.
Outcome<void> put_hard_link(int root, const Place& place, const microvm_agent_FileEntry& entry) {
  const auto target = find_place(root, entry.link_target, LastLink::keep);
  if (!target) return fail(target.error());
  Replacement replacement(place, entry.path);
  if (linkat(target->parent.get(), target->name.c_str(), place.parent.get(), replacement.name(),
             0) != 0)
    return replacement.failed();
  return replacement.commit();
}

// How much a frame of content stands for: bytes that follow, or a hole.
Outcome<uint64_t> content_size(Channel& channel, const FrameHeader& header) {
  if (header.type == FrameType::file_data) return header.body_size;
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_FileHole hole = microvm_agent_FileHole_init_zero;
  if (!decode_message(*body, microvm_agent_FileHole_fields, &hole))
    return fail("a hole is not readable", EPROTO);
  return hole.bytes;
}

Outcome<void> copy_piece(Channel& channel, int file, const FrameHeader& header, uint64_t size,
                         const char* shown) {
  if (header.type == FrameType::file_data)
    return copy_frame(channel, file, header.body_size, shown);
  if (lseek(file, static_cast<off_t>(size), SEEK_CUR) < 0) return fail_errno(shown);
  return {};
}

Outcome<void> copy_content(Channel& channel, int file, const microvm_agent_FileEntry& entry) {
  bool ends_with_hole = false;
  for (uint64_t left = entry.size; left > 0;) {
    const auto header = channel.read_header();
    if (!header) return fail(header.error());
    const std::string wrong = std::string(entry.path) + ": its data has not the size announced";
    if (header->type != FrameType::file_data && header->type != FrameType::file_hole)
      return fail(wrong, EPROTO);
    const auto size = content_size(channel, *header);
    if (!size) return fail(size.error());
    if (*size > left) return fail(wrong, EPROTO);
    if (auto copied = copy_piece(channel, file, *header, *size, entry.path); !copied) return copied;
    ends_with_hole = header->type == FrameType::file_hole;
    left -= *size;
  }
  if (ends_with_hole && ftruncate(file, static_cast<off_t>(entry.size)) != 0)
    return fail_errno(entry.path);
  return {};
}

Outcome<void> put_regular(Channel& channel, const Place& place,
                          const microvm_agent_FileEntry& entry) {
  Replacement replacement(place, entry.path);
  const auto file = replacement.create();
  if (!file) return fail(file.error());
  if (auto copied = copy_content(channel, file->get(), entry); !copied) return copied;
  if (!set_open_attributes(file->get(), entry)) return replacement.failed();
  return replacement.commit();
}

// Where an entry goes. What a link leads to may be a device of the guest: that is not replaced.
Outcome<Place> find_entry_place(int root, const microvm_agent_FileEntry& entry) {
  auto named = make_place(root, entry.path);
  if (!named || !entry.follow || !is_link(*named)) return named;
  auto place = find_place(root, entry.path, LastLink::follow);
  if (!place) return place;
  struct stat status{};
  const bool is_there =
      fstatat(place->parent.get(), place->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (is_there && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
    return fail(std::string(entry.path) + ": leads to what is no file and no directory", EINVAL);
  return place;
}

Outcome<void> put_entry(int root, Channel& channel, const microvm_agent_FileEntry& entry) {
  const auto place = find_entry_place(root, entry);
  if (!place) return fail(place.error());
  if (entry.type == microvm_agent_FileEntry_Type_DIRECTORY) return put_directory(*place, entry);
  if (place->name == ".") return fail_errno(entry.path, EISDIR);
  if (entry.type == microvm_agent_FileEntry_Type_SYMLINK) return put_symlink(*place, entry);
  if (entry.type == microvm_agent_FileEntry_Type_REGULAR)
    return put_regular(channel, *place, entry);
  if (entry.type == microvm_agent_FileEntry_Type_HARD_LINK)
    return put_hard_link(root, *place, entry);
  return fail(std::string(entry.path) + ": not a kind of file this agent knows", EPROTO);
}

// What may have become of it already, when the host lost its connection on the way.
Outcome<void> put_once(int root, ChangeMemory::Turn& turn, Channel& channel) {
  if (turn.answer()) return *turn.answer();
  if (!channel.send_empty(FrameType::go_on)) return fail("the host left", ECONNRESET);
  auto put = run_put_files(root, channel);
  if (!channel.broken()) turn.answer_with(put);
  return put;
}

}  // namespace

Outcome<void> run_put_tree(int root, ChangeMemory& memory, Channel& channel,
                           const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_PutTreeRequest request = microvm_agent_PutTreeRequest_init_zero;
  if (!decode_message(*body, microvm_agent_PutTreeRequest_fields, &request))
    return fail("a request to put files is not readable", EPROTO);
  if (request.operation_id.size != ChangeMemory::kIdBytes) {
    if (!channel.send_empty(FrameType::go_on)) return fail("the host left", ECONNRESET);
    return run_put_files(root, channel);
  }
  auto turn = memory.begin(id_bytes(request.operation_id.bytes));
  return put_once(root, turn, channel);
}

Outcome<void> run_put_files(int root, Channel& channel) {
  for (;;) {
    const auto header = channel.read_header();
    if (!header) return fail(header.error());
    if (header->type == FrameType::put_end && header->body_size == 0) return {};
    if (header->type != FrameType::file_entry)
      return fail("unexpected frame of type " + std::to_string(static_cast<int>(header->type)) +
                      " among files",
                  EPROTO);
    const auto body = channel.read_body(*header);
    if (!body) return fail(body.error());
    microvm_agent_FileEntry entry = microvm_agent_FileEntry_init_zero;
    if (!decode_message(*body, microvm_agent_FileEntry_fields, &entry))
      return fail("a file entry is not readable", EPROTO);
    if (auto put = put_entry(root, channel, entry); !put) return put;
  }
}

}  // namespace microvm::agent
