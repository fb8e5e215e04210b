#include "agent/put_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "agent/file.hpp"

namespace microvm::agent {
namespace {

constexpr mode_t kParentMode = 0755;
constexpr size_t kCopyBytes = 32 * 1024;
constexpr int64_t kSecondNs = 1'000'000'000;

// Where an entry goes: its directory, and its name there.
struct Place {
  base::Fd parent;
  std::string name;
};

// "/a//b/./c" → a, b, c. ".." is refused: what is meant depends on links.
Outcome<std::vector<std::string>> split_path(const std::string& path) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    std::string part = path.substr(begin, end - begin);
    if (part == "..") return fail(path + ": \"..\" is not allowed here", EINVAL);
    if (!part.empty() && part != ".") parts.push_back(std::move(part));
    begin = end + 1;
  }
  return parts;
}

// Each step is resolved from the root again, so a link to an absolute path stays inside it.
Outcome<base::Fd> open_or_make_parent(int root, const std::vector<std::string>& parts) {
  base::Fd directory = open_in_root(root, ".", O_PATH | O_DIRECTORY);
  std::string path;
  for (size_t i = 0; directory && i + 1 < parts.size(); i++) {
    path += "/" + parts[i];
    base::Fd next = open_in_root(root, path.c_str(), O_PATH | O_DIRECTORY);
    if (!next && errno == ENOENT && mkdirat(directory.get(), parts[i].c_str(), kParentMode) == 0)
      next = open_in_root(root, path.c_str(), O_PATH | O_DIRECTORY);
    directory = std::move(next);
  }
  if (!directory) return fail_errno(path);
  return directory;
}

Outcome<Place> find_place(int root, const std::string& path) {
  auto parts = split_path(path);
  if (!parts) return fail(parts.error());
  if (parts->empty()) return Place{open_in_root(root, ".", O_PATH | O_DIRECTORY), "."};
  auto parent = open_or_make_parent(root, *parts);
  if (!parent) return fail(parent.error());
  return Place{std::move(*parent), std::move(parts->back())};
}

std::array<timespec, 2> times_of(const microvm_agent_FileEntry& entry) {
  // Rounded down, so that the nanoseconds are not negative before 1970.
  int64_t seconds = entry.mtime_ns / kSecondNs;
  int64_t nanoseconds = entry.mtime_ns % kSecondNs;
  if (nanoseconds < 0) {
    seconds--;
    nanoseconds += kSecondNs;
  }
  const timespec time{.tv_sec = seconds, .tv_nsec = nanoseconds};
  return {time, time};
}

// The owner first: changing it takes set-user-id bits away.
bool set_attributes(int parent, const char* name, const microvm_agent_FileEntry& entry) {
  const bool is_link = entry.type == microvm_agent_FileEntry_Type_SYMLINK;
  const auto times = times_of(entry);
  return fchownat(parent, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) == 0 &&
         (is_link || fchmodat(parent, name, entry.mode & 07777, 0) == 0) &&
         utimensat(parent, name, times.data(), AT_SYMLINK_NOFOLLOW) == 0;
}

// --- one kind of entry each
// -----------------------------------------------------------------------

Outcome<void> put_directory(const Place& place, const microvm_agent_FileEntry& entry) {
  const char* name = place.name.c_str();
  if (mkdirat(place.parent.get(), name, 0700) == 0) {
    if (set_attributes(place.parent.get(), name, entry)) return {};
    return fail_errno(entry.path);
  }
  if (errno != EEXIST) return fail_errno(entry.path);
  struct stat status{};
  if (fstatat(place.parent.get(), name, &status, 0) == 0 && S_ISDIR(status.st_mode)) return {};
  return fail_errno(entry.path, ENOTDIR);
}

// What is new gets its content under a name of its own and then replaces what is there, in one
// step.
class Replacement {
 public:
  explicit Replacement(const Place& place) : place_(place) {
    // One name per thread: nobody else makes such names.
    name_ = ".microvm-put-" + std::to_string(gettid());
    unlinkat(place_.parent.get(), name_.c_str(), 0);
  }
  ~Replacement() {
    if (!committed_) unlinkat(place_.parent.get(), name_.c_str(), 0);
  }
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;

  [[nodiscard]] const char* name() const { return name_.c_str(); }

  Outcome<void> commit(const microvm_agent_FileEntry& entry) {
    const int parent = place_.parent.get();
    if (!set_attributes(parent, name(), entry) ||
        renameat(parent, name(), parent, place_.name.c_str()) != 0)
      return fail_errno(entry.path);
    committed_ = true;
    return {};
  }

 private:
  const Place& place_;
  std::string name_;
  bool committed_ = false;
};

Outcome<void> put_symlink(const Place& place, const microvm_agent_FileEntry& entry) {
  Replacement replacement(place);
  if (symlinkat(entry.link_target, place.parent.get(), replacement.name()) != 0)
    return fail_errno(entry.path);
  return replacement.commit(entry);
}

// One data frame into the file.
Outcome<void> copy_frame(Channel& channel, int file, const microvm_agent_FileEntry& entry,
                         uint32_t size) {
  std::array<std::byte, kCopyBytes> buffer{};
  for (uint32_t left = size; left > 0;) {
    const auto piece = std::span(buffer).first(std::min<size_t>(left, buffer.size()));
    if (auto read = channel.read_exactly(piece); !read) return read;
    if (!write_all(file, {reinterpret_cast<const char*>(piece.data()), piece.size()}))
      return fail_errno(entry.path);
    left -= static_cast<uint32_t>(piece.size());
  }
  return {};
}

Outcome<void> copy_content(Channel& channel, int file, const microvm_agent_FileEntry& entry) {
  for (uint64_t left = entry.size; left > 0;) {
    const auto header = channel.read_header();
    if (!header) return fail(header.error());
    if (header->type != FrameType::file_data || header->body_size > left)
      return fail(std::string(entry.path) + ": its data has not the size announced", EPROTO);
    if (auto copied = copy_frame(channel, file, entry, header->body_size); !copied) return copied;
    left -= header->body_size;
  }
  return {};
}

Outcome<void> put_regular(Channel& channel, const Place& place,
                          const microvm_agent_FileEntry& entry) {
  Replacement replacement(place);
  const base::Fd file(openat(place.parent.get(), replacement.name(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail_errno(entry.path);
  if (auto copied = copy_content(channel, file.get(), entry); !copied) return copied;
  return replacement.commit(entry);
}

Outcome<void> put_entry(int root, Channel& channel, const microvm_agent_FileEntry& entry) {
  const auto place = find_place(root, entry.path);
  if (!place) return fail(place.error());
  if (entry.type == microvm_agent_FileEntry_Type_DIRECTORY) return put_directory(*place, entry);
  if (place->name == ".") return fail_errno(entry.path, EISDIR);
  if (entry.type == microvm_agent_FileEntry_Type_SYMLINK) return put_symlink(*place, entry);
  if (entry.type == microvm_agent_FileEntry_Type_REGULAR)
    return put_regular(channel, *place, entry);
  return fail(std::string(entry.path) + ": not a kind of file this agent knows", EPROTO);
}

}  // namespace

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
