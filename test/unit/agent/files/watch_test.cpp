// The agent's side of a watch, against the real inotify in a directory of this machine.
#include "agent/files/watch.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>

#include "unit/agent/operation_client.hpp"
#include "unit/agent/temporary_root.hpp"

namespace microvm::agent {
namespace {

namespace fs = std::filesystem;

struct Watched {
  explicit Watched(const std::string& path, bool recursive) {
    guest.root_fd = root.fd();
    fs::create_directories(root / "top/below/deep");
    root.write("top/file", "x");
    start(path, recursive);
  }

  void start(const std::string& path, bool recursive) {
    microvm_agent_WatchRequest request = microvm_agent_WatchRequest_init_zero;
    copy_text(request.path, path);
    request.recursive = recursive;
    client = std::make_unique<OperationClient>(guest);
    client->send_message(FrameType::watch, microvm_agent_WatchRequest_fields, &request);
    first = client->read();
  }

  // "+a" created, "~a" modified, "-a" removed, "a>b" renamed, "!" overflow, "." the end;
  // directories with a slash after them.
  std::string next() {
    const auto frame = client->read();
    if (!frame) return "closed";
    if (frame->type == FrameType::ok) return ".";
    if (frame->type != FrameType::watch_event) return "unexpected";
    const auto event = decode<microvm_agent_WatchEvent>(*frame, microvm_agent_WatchEvent_fields);
    if (!event) return "unreadable";
    const std::string path = event->path + std::string(event->is_directory ? "/" : "");
    switch (event->kind) {
      case microvm_agent_WatchEvent_Kind_CREATED:
        return "+" + path;
      case microvm_agent_WatchEvent_Kind_MODIFIED:
        return "~" + path;
      case microvm_agent_WatchEvent_Kind_REMOVED:
        return "-" + path;
      case microvm_agent_WatchEvent_Kind_RENAMED:
        return std::string(event->old_path) + ">" + path;
      case microvm_agent_WatchEvent_Kind_OVERFLOW:
        return "!";
    }
    return "unknown";
  }

  // Events up to this one.
  bool comes(const std::string& expected) {
    for (int i = 0; i < 1000; ++i) {
      const std::string event = next();
      if (event == expected) return true;
      if (event == "closed" || event == ".") break;
      seen += event + " ";
    }
    return false;
  }

  void rename(const std::string& from, const std::string& to) const {
    fs::rename(root / from, root / to);
  }

  TemporaryRoot root;
  TestGuest guest;
  std::unique_ptr<OperationClient> client;
  std::optional<Frame> first;
  std::string seen;
};

}  // namespace

TEST_CASE("watch: what happens in a directory is told by name") {
  Watched watched("/top", false);
  REQUIRE(watched.first);
  REQUIRE(watched.first->type == FrameType::ok);
  watched.root.write("top/new", "x");
  CHECK(watched.next() == "+new");
  CHECK(watched.next() == "~new");
  watched.rename("top/new", "top/newer");
  CHECK(watched.next() == "new>newer");
  fs::permissions(watched.root / "top/newer", fs::perms::owner_read);
  CHECK(watched.next() == "~newer");
  fs::remove(watched.root / "top/newer");
  CHECK(watched.comes("-newer"));
  fs::create_directory(watched.root / "top/dir");
  CHECK(watched.next() == "+dir/");
  watched.root.write("top/below/unseen", "x");
  fs::remove(watched.root / "top/dir");
  CHECK(watched.comes("-dir/"));
  CHECK(watched.seen.find("unseen") == std::string::npos);
}

TEST_CASE("watch: moves over the edge are arrivals and departures") {
  Watched watched("/top", true);
  watched.rename("top/file", "outside");
  CHECK(watched.next() == "-file");
  watched.rename("outside", "top/back");
  CHECK(watched.next() == "+back");
  fs::create_directories(watched.root / "tree/inner");
  watched.root.write("tree/inner/leaf", "x");
  watched.rename("tree", "top/tree");
  CHECK(watched.comes("+tree/"));
  CHECK(watched.comes("+tree/inner/"));
  CHECK(watched.comes("+tree/inner/leaf"));
  watched.rename("top/tree", "tree");
  CHECK(watched.comes("-tree/"));
  watched.root.write("tree/inner/unseen", "x");
  watched.root.write("top/last", "x");
  CHECK(watched.comes("+last"));
  CHECK(watched.seen.find("unseen") == std::string::npos);
}

TEST_CASE("watch: a recursive one knows new directories and renamed ones") {
  Watched watched("/top", true);
  watched.root.write("top/below/deep/a", "x");
  CHECK(watched.comes("+below/deep/a"));
  fs::create_directory(watched.root / "top/made");
  CHECK(watched.comes("+made/"));
  watched.root.write("top/made/b", "x");
  CHECK(watched.comes("+made/b"));
  watched.rename("top/below", "top/under");
  CHECK(watched.comes("below>under/"));
  watched.root.write("top/under/deep/c", "x");
  CHECK(watched.comes("+under/deep/c"));
}

TEST_CASE("watch: links in the tree lead nowhere") {
  Watched watched("/top", true);
  fs::create_directory(watched.root / "elsewhere");
  fs::create_directory_symlink("/elsewhere", watched.root / "top/link");
  CHECK(watched.next() == "+link");
  watched.root.write("elsewhere/unseen", "x");
  watched.root.write("top/last", "x");
  CHECK(watched.comes("+last"));
  CHECK(watched.seen.find("unseen") == std::string::npos);
}

TEST_CASE("watch: a file alone, until it is gone") {
  Watched watched("/top/file", true);
  watched.root.write("top/file", "changed");
  CHECK(watched.next() == "~");
  watched.rename("top/file", "top/moved");
  CHECK(watched.comes("-"));
  CHECK(watched.next() == ".");
}

TEST_CASE("watch: it ends with the directory") {
  Watched watched("/top/below/deep", false);
  fs::remove(watched.root / "top/below/deep");
  CHECK(watched.comes("-/"));
  CHECK(watched.next() == ".");
}

TEST_CASE("watch: a host that does not read is told that it missed something") {
  Watched watched("/top", true);
  // More than the kernel's queue and the socket hold together.
  for (int i = 0; i < 60'000; ++i) {
    const auto path = watched.root / ("top/" + std::to_string(i % 100));
    std::ofstream(path) << "x";
    fs::remove(path);
  }
  bool overflowed = false;
  for (int i = 0; i < 400'000 && !overflowed; ++i) overflowed = watched.next() == "!";
  CHECK(overflowed);
  fs::create_directory(watched.root / "top/after");
  for (int i = 0; i < 400'000; ++i) {
    if (watched.next() == "+after/") break;
  }
  watched.root.write("top/after/it", "x");
  CHECK(watched.comes("+after/it"));
}

TEST_CASE("watch: what can not be watched is refused") {
  Watched watched("/top", false);
  for (const char* path : {"/missing", "relative", ""}) {
    watched.start(path, false);
    const auto failure = failure_of(watched.first);
    REQUIRE(failure);
    CHECK(failure->error == (path[0] == '/' ? ENOENT : EINVAL));
  }
  // Inside the root, whatever the path says.
  watched.start("/../../top", false);
  CHECK(watched.first->type == FrameType::ok);
}

}  // namespace microvm::agent
