#include "agent/files/file_change.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "agent/base/file.hpp"
#include "agent/files/file_data.hpp"
#include "agent/files/remove_tree.hpp"
#include "agent/files/replacement.hpp"
#include "agent/program/user.hpp"

namespace microvm::agent {
namespace {

constexpr mode_t kFileMode = 0644;
constexpr mode_t kDirectoryMode = 0755;

using Request = microvm_agent_FileRequest;

// What the request says, else what `before` has.
Outcome<Attributes> choose_attributes(int root, const Request& request, Attributes before) {
  if (request.mode_given) before.mode = request.mode & 07777;
  if (request.owner[0] == '\0') return before;
  const auto user = find_user(root, request.owner);
  if (!user) return fail(user.error());
  before.uid = user->uid;
  before.gid = user->gid;
  return before;
}

// Empty when nothing is there.
Outcome<std::optional<struct stat>> look_at(const Place& place, const std::string& shown) {
  struct stat status{};
  if (fstatat(place.parent.get(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
    return status;
  if (errno == ENOENT) return std::nullopt;
  return fail_errno(shown);
}

struct WritePlace {
  Place place;
  std::optional<Attributes> existing;
};

// Where content may be written: nothing is there yet, or a regular file.
Outcome<WritePlace> find_write_place(int root, const Request& request) {
  const std::string shown = shown_path(request.path);
  auto place = find_place(root, request.path, LastLink::follow);
  if (!place) return fail(place.error());
  const auto status = look_at(*place, shown);
  if (!status) return fail(status.error());
  if (!*status) return WritePlace{std::move(*place), std::nullopt};
  if (S_ISDIR((*status)->st_mode)) return fail_errno(shown, EISDIR);
  if (!S_ISREG((*status)->st_mode)) return fail(shown + ": not a regular file", EINVAL);
  return WritePlace{std::move(*place),
                    Attributes{(*status)->st_uid, (*status)->st_gid, (*status)->st_mode & 07777}};
}

// The size of the next piece of data; 0 at the end.
Outcome<uint32_t> next_piece(Channel& channel, const std::string& shown) {
  for (;;) {
    const auto header = channel.read_header();
    if (!header) return fail(header.error());
    if (header->type == FrameType::put_end && header->body_size == 0) return 0;
    if (header->type != FrameType::file_data)
      return fail(shown + ": unexpected frame of type " +
                      std::to_string(static_cast<int>(header->type)) + " among its data",
                  EPROTO);
    if (header->body_size > 0) return header->body_size;
  }
}

Outcome<void> copy_until_end(Channel& channel, int file, const std::string& shown) {
  for (;;) {
    const auto size = next_piece(channel, shown);
    if (!size) return fail(size.error());
    if (*size == 0) return {};
    if (auto copied = copy_frame(channel, file, *size, shown); !copied) return copied;
  }
}

// A piece is written whole, so that `written` is true when the connection breaks in the next one.
Outcome<void> append_until_end(Channel& channel, int file, const std::string& shown,
                               uint64_t& written) {
  std::vector<std::byte> piece;
  for (uint64_t passed = 0;;) {
    const auto size = next_piece(channel, shown);
    if (!size) return fail(size.error());
    if (*size == 0) return {};
    piece.resize(*size);
    if (auto read = channel.read_exactly(piece); !read) return read;
    const auto known = static_cast<size_t>(std::min<uint64_t>(*size, written - passed));
    passed += *size;
    if (!write_all(file, {reinterpret_cast<const char*>(piece.data()) + known, *size - known}))
      return fail_errno(shown);
    written = std::max(written, passed);
  }
}

Outcome<void> make_parents(int root, const Request& request) {
  if (!request.whole) return {};
  const auto made = make_place(root, request.path);
  if (!made) return fail(made.error());
  return {};
}

// Who finds that there is no file may not be alone: only one of them makes it.
Outcome<base::Fd> open_to_append(const WritePlace& target, const Attributes& attributes,
                                 const std::string& shown) {
  const int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  const int parent = target.place.parent.get();
  const char* name = target.place.name.c_str();
  if (!target.existing) {
    base::Fd made(openat(parent, name, flags | O_CREAT | O_EXCL, 0600));
    if (made && !set_attributes(made.get(), attributes)) return fail_errno(shown);
    if (made) return made;
    if (errno != EEXIST) return fail_errno(shown);
  }
  base::Fd file(openat(parent, name, flags));
  struct stat status{};
  if (!file || fstat(file.get(), &status) != 0) return fail_errno(shown);
  if (!S_ISREG(status.st_mode)) return fail(shown + ": not a regular file", EINVAL);
  return file;
}

}  // namespace

Outcome<void> write_new_content(int root, Channel& channel, const Request& request) {
  const auto target = find_write_place(root, request);
  if (!target) return fail(target.error());
  const auto attributes =
      choose_attributes(root, request, target->existing.value_or(Attributes{0, 0, kFileMode}));
  if (!attributes) return fail(attributes.error());
  const std::string shown = shown_path(request.path);
  if (request.keep_existing && target->existing) return fail_errno(shown, EEXIST);
  Replacement replacement(target->place, shown);
  const auto file = replacement.create();
  if (!file) return fail(file.error());
  if (auto copied = copy_until_end(channel, file->get(), shown); !copied) return copied;
  if (!set_attributes(file->get(), *attributes)) return replacement.failed();
  return replacement.commit(request.keep_existing ? Replacement::Existing::kept
                                                  : Replacement::Existing::replaced);
}

Outcome<void> append_content(int root, Channel& channel, const Request& request,
                             uint64_t& written) {
  const auto target = find_write_place(root, request);
  if (!target) return fail(target.error());
  const auto attributes =
      choose_attributes(root, request, target->existing.value_or(Attributes{0, 0, kFileMode}));
  if (!attributes) return fail(attributes.error());
  const std::string shown = shown_path(request.path);
  const auto file = open_to_append(*target, *attributes, shown);
  if (!file) return fail(file.error());
  return append_until_end(channel, file->get(), shown, written);
}

Outcome<void> make_directory(int root, const Request& request) {
  const auto attributes = choose_attributes(root, request, Attributes{0, 0, kDirectoryMode});
  if (!attributes) return fail(attributes.error());
  if (auto made = make_parents(root, request); !made) return made;
  const std::string shown = shown_path(request.path);
  const auto place = find_place(root, request.path, LastLink::follow);
  if (!place) return fail(place.error());
  const char* name = place->name.c_str();
  if (mkdirat(place->parent.get(), name, 0700) != 0) {
    const int error = errno;
    struct stat status{};
    const bool is_directory =
        fstatat(place->parent.get(), name, &status, 0) == 0 && S_ISDIR(status.st_mode);
    if (error == EEXIST && request.whole && is_directory) return {};
    return fail_errno(shown, error);
  }
  const base::Fd made(
      openat(place->parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!made || !set_attributes(made.get(), *attributes)) return fail_errno(shown);
  return {};
}

Outcome<void> remove_file(int root, const Request& request) {
  const std::string shown = shown_path(request.path);
  const auto place = find_place(root, request.path, LastLink::keep);
  if (!place) return fail(place.error());
  if (place->name == ".") return fail(shown + ": the root is not removed", EINVAL);
  const int parent = place->parent.get();
  const char* name = place->name.c_str();
  if (unlinkat(parent, name, 0) == 0) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno(shown);
  if (request.whole) {
    if (auto emptied = remove_content(parent, name, shown); !emptied) return emptied;
  }
  if (unlinkat(parent, name, AT_REMOVEDIR) != 0) return fail_errno(shown);
  return {};
}

Outcome<void> rename_file(int root, const Request& request) {
  if (request.new_path[0] != '/')
    return fail(shown_path(request.new_path) + ": not an absolute path", EINVAL);
  const auto from = find_place(root, request.path, LastLink::keep);
  if (!from) return fail(from.error());
  const auto to = find_place(root, request.new_path, LastLink::keep);
  if (!to) return fail(to.error());
  const unsigned flags = request.keep_existing ? RENAME_NOREPLACE : 0;
  if (renameat2(from->parent.get(), from->name.c_str(), to->parent.get(), to->name.c_str(),
                flags) == 0)
    return {};
  const int error = errno;
  return fail_errno(shown_path(request.path) + " to " + shown_path(request.new_path), error);
}

}  // namespace microvm::agent
