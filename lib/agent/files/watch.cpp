#include "agent/files/watch.hpp"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "agent/files/place.hpp"
#include "agent/files/watched_tree.hpp"

namespace microvm::agent {
namespace {

constexpr auto kCreated = microvm_agent_WatchEvent_Kind_CREATED;
constexpr auto kModified = microvm_agent_WatchEvent_Kind_MODIFIED;
constexpr auto kRemoved = microvm_agent_WatchEvent_Kind_REMOVED;
constexpr auto kRenamed = microvm_agent_WatchEvent_Kind_RENAMED;
constexpr auto kOverflow = microvm_agent_WatchEvent_Kind_OVERFLOW;

constexpr size_t kBatchBytes = 16 * 1024;
// The two halves of a rename come one right after the other; then the second one does not come.
constexpr int kRenameWaitMs = 20;

class Watch final : WatchedTree::Visitor {
 public:
  Watch(WatchedTree tree, Channel& channel, bool recursive)
      : tree_(std::move(tree)), channel_(channel), recursive_(recursive), batch_(kBatchBytes) {}

  // Until the top or the host is gone.
  Outcome<void> run() {
    if (recursive_) walk_quietly("");
    bool going = channel_.send_empty(FrameType::ok);
    while (going && !over_) going = tell_missed() && step();
    return {};
  }

 private:
  struct MovedAway {
    uint32_t cookie = 0;
    std::string path;
    bool is_directory = false;
  };

  // All of these are false when the host is gone.
  bool step();
  bool take_batch();
  bool take(const inotify_event& event);
  bool take_named(const inotify_event& event, const std::string& path);
  bool arrived(const inotify_event& event, const std::string& path);
  bool created(const std::string& path, bool is_directory);
  bool settle_moved_away();
  bool overflowed();
  bool tell_missed();
  bool send(microvm_agent_WatchEvent_Kind kind, const std::string& path, bool is_directory,
            const std::string& old_path = {});

  bool found(const std::string& path, bool is_directory) override {
    return quiet_ || send(kCreated, path, is_directory);
  }
  void no_room() override { missed_ = true; }
  void walk_quietly(const std::string& path) {
    quiet_ = true;
    tree_.add_below(path, *this);
    quiet_ = false;
  }

  WatchedTree tree_;
  Channel& channel_;
  const bool recursive_;
  bool quiet_ = false;   // a walk that only sets watches
  bool missed_ = false;  // something is not watched and the host does not know
  bool over_ = false;
  std::optional<MovedAway> moved_away_;
  std::string last_modified_;
  bool has_last_modified_ = false;
  microvm_agent_WatchEvent message_ = microvm_agent_WatchEvent_init_zero;
  std::vector<std::byte> batch_;
  std::array<std::byte, FrameHeader::kSize + sizeof message_.path + sizeof message_.old_path + 64>
      frame_{};
};

bool Watch::step() {
  std::array<pollfd, 2> fds{pollfd{tree_.fd(), POLLIN, 0},
                            pollfd{channel_.fd(), POLLIN | POLLRDHUP, 0}};
  const int ready = poll(fds.data(), fds.size(), moved_away_ ? kRenameWaitMs : -1);
  if (ready < 0) return errno == EINTR;
  if (ready == 0) return settle_moved_away();
  // The host has nothing to say but that it goes.
  if (fds[1].revents != 0) return false;
  return take_batch();
}

bool Watch::take_batch() {
  const ssize_t size = read(tree_.fd(), batch_.data(), batch_.size());
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  has_last_modified_ = false;
  for (size_t at = 0; at < static_cast<size_t>(size) && !over_;) {
    inotify_event event{};
    std::memcpy(&event, batch_.data() + at, sizeof event);
    // The name has its end within event.len.
    const auto* whole = reinterpret_cast<const inotify_event*>(batch_.data() + at);
    if (!take(*whole)) return false;
    at += sizeof event + event.len;
  }
  return true;
}

bool Watch::take(const inotify_event& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) return overflowed();
  if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0) {
    if (!tree_.is_top(event.wd)) return true;  // its parent tells
    over_ = true;
    return settle_moved_away() && send(kRemoved, "", tree_.is_directory());
  }
  if ((event.mask & IN_IGNORED) != 0) {
    tree_.forget(event.wd);
    return true;
  }
  const std::string* directory = tree_.path_of(event.wd);
  if (directory == nullptr) return true;
  if (event.len > 0) return take_named(event, join_path(*directory, event.name));
  if (!tree_.is_top(event.wd)) return true;  // its parent tells
  return send(kModified, "", tree_.is_directory());
}

bool Watch::take_named(const inotify_event& event, const std::string& path) {
  const bool is_directory = (event.mask & IN_ISDIR) != 0;
  if ((event.mask & IN_MOVED_FROM) != 0) {
    if (!settle_moved_away()) return false;
    moved_away_ = MovedAway{event.cookie, path, is_directory};
    return true;
  }
  if ((event.mask & IN_MOVED_TO) != 0) return arrived(event, path);
  if ((event.mask & IN_CREATE) != 0) return created(path, is_directory);
  if ((event.mask & IN_DELETE) != 0) return send(kRemoved, path, is_directory);
  return send(kModified, path, is_directory);
}

bool Watch::arrived(const inotify_event& event, const std::string& path) {
  const bool is_directory = (event.mask & IN_ISDIR) != 0;
  if (!moved_away_ || moved_away_->cookie != event.cookie) return created(path, is_directory);
  const std::string from = std::move(moved_away_->path);
  moved_away_.reset();
  if (is_directory) tree_.moved(from, path);
  return send(kRenamed, path, is_directory, from);
}

bool Watch::created(const std::string& path, bool is_directory) {
  if (!send(kCreated, path, is_directory)) return false;
  if (is_directory && recursive_) tree_.add_below(path, *this);
  return true;
}

// It went out of the tree, or to where nobody looks.
bool Watch::settle_moved_away() {
  if (!moved_away_) return true;
  const MovedAway gone = std::move(*moved_away_);
  moved_away_.reset();
  if (gone.is_directory) tree_.drop(gone.path);
  return send(kRemoved, gone.path, gone.is_directory);
}

// Directories may have come and moved unseen.
bool Watch::overflowed() {
  moved_away_.reset();
  if (recursive_) walk_quietly("");
  missed_ = true;
  return tell_missed();
}

bool Watch::tell_missed() {
  if (!missed_) return true;
  missed_ = false;
  return send(kOverflow, "", false);
}

bool Watch::send(microvm_agent_WatchEvent_Kind kind, const std::string& path, bool is_directory,
                 const std::string& old_path) {
  if (path.size() >= PATH_MAX || old_path.size() >= PATH_MAX) {
    missed_ = true;
    return true;
  }
  // A program that writes much is one event at a time, as far as nothing else happens in between.
  const bool modified = kind == kModified;
  if (modified && has_last_modified_ && last_modified_ == path) return true;
  has_last_modified_ = modified;
  if (modified) last_modified_ = path;
  message_.kind = kind;
  message_.is_directory = is_directory;
  copy_text(message_.path, path);
  copy_text(message_.old_path, old_path);
  const size_t size =
      encode_frame(frame_, FrameType::watch_event, microvm_agent_WatchEvent_fields, &message_);
  return channel_.send_bytes(std::span(frame_).first(size));
}

}  // namespace

Outcome<void> run_watch(int root, Channel& channel, const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  const auto request = std::make_unique<microvm_agent_WatchRequest>();
  if (!decode_message(*body, microvm_agent_WatchRequest_fields, request.get()))
    return fail("a request to watch is not readable", EPROTO);
  if (request->path[0] != '/')
    return fail(shown_path(request->path) + ": not an absolute path", EINVAL);
  auto tree = WatchedTree::create(root, request->path);
  if (!tree) return fail(tree.error());
  const bool recursive = request->recursive && tree->is_directory();
  const auto watch = std::make_unique<Watch>(std::move(*tree), channel, recursive);
  return watch->run();
}

}  // namespace microvm::agent
