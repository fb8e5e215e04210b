#include "agent/files/put_files.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "agent/files/place.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/agent/temporary_root.hpp"

namespace microvm::agent {
namespace {

constexpr auto kRegular = microvm_agent_FileEntry_Type_REGULAR;
constexpr auto kDirectory = microvm_agent_FileEntry_Type_DIRECTORY;
constexpr auto kSymlink = microvm_agent_FileEntry_Type_SYMLINK;

struct Entry {
  microvm_agent_FileEntry_Type type = kRegular;
  std::string path;
  std::string content = {};  // or the link's target
  uint32_t mode = 0644;
  int64_t mtime_ns = 1'600'000'000'500'000'000;
  bool follow = false;
};

struct PutFiles {
  explicit PutFiles(const TemporaryRoot& root) : guest_root(root) { guest.root_fd = root.fd(); }

  static void send_entry(OperationClient& client, const Entry& entry, uint64_t size) {
    microvm_agent_FileEntry message = microvm_agent_FileEntry_init_zero;
    message.type = entry.type;
    copy_text(message.path, entry.path);
    message.mode = entry.mode;
    message.uid = geteuid();
    message.gid = getegid();
    message.mtime_ns = entry.mtime_ns;
    message.follow = entry.follow;
    if (entry.type == kSymlink) copy_text(message.link_target, entry.content);
    if (entry.type == kRegular) message.size = size;
    client.send_message(FrameType::file_entry, microvm_agent_FileEntry_fields, &message);
  }

  static void send_content(OperationClient& client, const std::string& content) {
    for (size_t at = 0; at < content.size(); at += 1000)
      client.send(FrameType::file_data, std::string_view(content).substr(at, 1000));
  }

  static void send_hole(OperationClient& client, uint64_t bytes) {
    microvm_agent_FileHole hole = microvm_agent_FileHole_init_zero;
    hole.bytes = bytes;
    client.send_message(FrameType::file_hole, microvm_agent_FileHole_fields, &hole);
  }

  // The failure's message, or "ok".
  static std::string result(OperationClient& client) {
    const auto frame = client.read();
    if (frame && frame->type == FrameType::ok) return "ok";
    const auto failure = failure_of(frame);
    return failure ? failure->message : "no answer";
  }

  std::string put(const std::vector<Entry>& entries) {
    OperationClient client(guest);
    client.send(FrameType::put_files);
    for (const auto& entry : entries) {
      send_entry(client, entry, entry.content.size());
      if (entry.type == kRegular) send_content(client, entry.content);
    }
    client.send(FrameType::put_end);
    return result(client);
  }

  const TemporaryRoot& guest_root;
  Guest guest;
};

struct stat status_of(const std::filesystem::path& path) {
  struct stat status{};
  lstat(path.c_str(), &status);
  return status;
}

size_t count_entries(const std::filesystem::path& directory) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

}  // namespace

TEST_SUITE("agent put_files") {
  TEST_CASE("files, directories, links, with their attributes") {
    const TemporaryRoot root;
    const std::string large(300'000, 'x');
    CHECK(PutFiles(root).put({{kDirectory, "/app", "", 0750},
                              {kRegular, "/app/run.sh", "#!/bin/sh\n", 04755},
                              {kRegular, "/app/empty"},
                              {kRegular, "app/deep/er/large", large},
                              {kSymlink, "/app/link", "run.sh"}}) == "ok");
    CHECK(root.read("app/run.sh") == "#!/bin/sh\n");
    CHECK(root.read("app/deep/er/large") == large);
    CHECK(status_of(root / "app").st_mode == (S_IFDIR | 0750));
    CHECK(status_of(root / "app/run.sh").st_mode == (S_IFREG | 04755));
    CHECK(status_of(root / "app/deep").st_mode == (S_IFDIR | 0755));
    CHECK(status_of(root / "app/empty").st_size == 0);
    CHECK(status_of(root / "app/run.sh").st_mtim.tv_sec == 1'600'000'000);
    CHECK(status_of(root / "app/run.sh").st_mtim.tv_nsec == 500'000'000);
    CHECK(status_of(root / "app/link").st_mtim.tv_sec == 1'600'000'000);
    CHECK(std::filesystem::read_symlink(root / "app/link") == "run.sh");
    CHECK(count_entries(root / "app") == 4);
  }

  TEST_CASE("a time before 1970") {
    const TemporaryRoot root;
    CHECK(PutFiles(root).put({{kRegular, "/old", "", 0644, -1'500'000'000}}) == "ok");
    CHECK(status_of(root / "old").st_mtim.tv_sec == -2);
    CHECK(status_of(root / "old").st_mtim.tv_nsec == 500'000'000);
  }

  TEST_CASE("what is there is replaced; directories are merged") {
    const TemporaryRoot root;
    root.write("etc/config", "an old and longer text");
    root.write("etc/other", "other");
    root.write("outside", "outside");
    std::filesystem::create_symlink("/outside", root / "etc/link");
    std::filesystem::create_hard_link(root / "etc/config", root / "etc/hard");
    std::filesystem::permissions(root / "etc", std::filesystem::perms::owner_all);
    CHECK(PutFiles(root).put({{kDirectory, "/etc", "", 0777},
                              {kRegular, "/etc/config", "new"},
                              {kRegular, "/etc/link", "a file now"},
                              {kSymlink, "/etc/other", "config"}}) == "ok");
    CHECK(root.read("etc/config") == "new");
    CHECK(root.read("etc/hard") == "an old and longer text");
    CHECK(root.read("outside") == "outside");
    CHECK(status_of(root / "etc/link").st_mode == (S_IFREG | 0644));
    CHECK(root.read("etc/other") == "new");
    CHECK(status_of(root / "etc").st_mode == (S_IFDIR | 0700));
  }

  TEST_CASE("a link at the end is followed inside the root where that is asked for") {
    const TemporaryRoot root;
    root.write("etc/real", "old");
    std::filesystem::create_directory(root / "tmp");
    std::filesystem::create_symlink("/etc/real", root / "tmp/absolute");
    std::filesystem::create_symlink("../../../../etc/new", root / "tmp/dangling");
    std::filesystem::create_symlink("dangling", root / "tmp/twice");
    std::filesystem::create_symlink("/etc/tree", root / "tmp/tree");
    std::filesystem::create_symlink("circle", root / "tmp/circle");
    std::filesystem::create_symlink("/none/x", root / "tmp/no-parent");
    std::filesystem::create_symlink("/etc/fifo", root / "tmp/device");
    mkfifo((root / "etc/fifo").c_str(), 0600);
    const auto put = [&](Entry entry) {
      entry.follow = true;
      return PutFiles(root).put({entry});
    };
    CHECK(put({kRegular, "/tmp/absolute", "new"}) == "ok");
    CHECK(root.read("etc/real") == "new");
    CHECK(put({kRegular, "/tmp/twice", "made"}) == "ok");
    CHECK(root.read("etc/new") == "made");
    CHECK(put({kDirectory, "/tmp/tree"}) == "ok");
    CHECK(std::filesystem::is_directory(root / "etc/tree"));
    CHECK(put({kRegular, "/tmp/plain", "plain"}) == "ok");
    CHECK(root.read("tmp/plain") == "plain");
    CHECK(put({kRegular, "/tmp/circle", "x"}).starts_with("/tmp/circle: too many"));
    CHECK(put({kRegular, "/tmp/no-parent", "x"}).find("no such file") != std::string::npos);
    CHECK(put({kRegular, "/tmp/device", "x"}) ==
          "/tmp/device: leads to what is no file and no directory");
    for (const char* link : {"absolute", "twice", "dangling", "tree", "circle", "device"})
      CHECK(std::filesystem::is_symlink(root / "tmp" / link));
    CHECK(count_entries(root / "tmp") == 8);
  }

  TEST_CASE("holes stay holes, and have their place in the size announced") {
    const TemporaryRoot root;
    PutFiles files(root);
    constexpr uint64_t kHole = 100u << 20;
    {
      OperationClient client(files.guest);
      client.send(FrameType::put_files);
      PutFiles::send_entry(client, {kRegular, "/sparse"}, 2 * kHole + 2);
      PutFiles::send_content(client, "a");
      PutFiles::send_hole(client, kHole);
      PutFiles::send_content(client, "b");
      PutFiles::send_hole(client, kHole);
      client.send(FrameType::put_end);
      CHECK(PutFiles::result(client) == "ok");
    }
    const auto status = status_of(root / "sparse");
    CHECK(status.st_size == 2 * kHole + 2);
    CHECK(status.st_blocks * 512 < 100'000);
    for (const uint64_t bytes : {uint64_t{11}, UINT64_MAX, uint64_t{1} << 63}) {
      CAPTURE(bytes);
      OperationClient client(files.guest);
      client.send(FrameType::put_files);
      PutFiles::send_entry(client, {kRegular, "/bad"}, 10);
      PutFiles::send_hole(client, bytes);
      CHECK(PutFiles::result(client) == "/bad: its data has not the size announced");
    }
    CHECK(count_entries(root / ".") == 1);
  }

  TEST_CASE("links on the way are followed inside the root") {
    const TemporaryRoot root;
    std::filesystem::create_directories(root / "usr/lib");
    std::filesystem::create_symlink("usr/lib", root / "lib");
    std::filesystem::create_symlink("/usr/lib", root / "absolute");
    std::filesystem::create_symlink("../../../../usr", root / "up");
    CHECK(PutFiles(root).put({{kDirectory, "/lib"},
                              {kRegular, "/lib/a", "a"},
                              {kRegular, "/absolute/b", "b"},
                              {kRegular, "/up/lib/c", "c"}}) == "ok");
    CHECK(root.read("usr/lib/a") == "a");
    CHECK(root.read("usr/lib/b") == "b");
    CHECK(root.read("usr/lib/c") == "c");
    CHECK(std::filesystem::is_symlink(root / "lib"));
  }

  TEST_CASE("two that make the same directories at once both succeed") {
    constexpr int kRounds = 300;
    const TemporaryRoot root;
    std::barrier together(2);
    std::atomic<int> made{0};
    const auto make = [&] {
      for (int i = 0; i < kRounds; i++) {
        together.arrive_and_wait();
        if (make_place(root.fd(), "/" + std::to_string(i) + "/a/b/c/d/file")) made++;
      }
    };
    std::thread other(make);
    make();
    other.join();
    CHECK(made == 2 * kRounds);
  }

  TEST_CASE("failures name the path, and leave nothing half done") {
    const TemporaryRoot root;
    root.write("file", "x");
    std::filesystem::create_directories(root / "directory/full");
    std::filesystem::create_symlink("/nowhere", root / "dangling");
    const struct {
      Entry entry;
      std::string message;
    } cases[] = {
        {{kRegular, "/directory", "x"}, "/directory: is a directory"},
        {{kSymlink, "/directory", "x"}, "/directory: is a directory"},
        {{kDirectory, "/file"}, "/file: not a directory"},
        {{kRegular, "/file/below", "x"}, "/file: not a directory"},
        {{kRegular, "/dangling/x", "x"}, "/dangling: file exists"},
        {{kRegular, "/a/../b", "x"}, "/a/../b: \"..\" is not allowed here"},
        {{kRegular, "/", "x"}, "/: is a directory"},
        {{kRegular, "", "x"}, ": is a directory"},
        {{kRegular, "/" + std::string(300, 'n'), "x"}, "/" + std::string(211, 'n')},
        {{static_cast<microvm_agent_FileEntry_Type>(3), "/odd", ""}, "/odd: not a kind of file"},
    };
    for (const auto& [entry, message] : cases) {
      CAPTURE(entry.path);
      CHECK(PutFiles(root).put({entry}).substr(0, message.size()) == message);
    }
    CHECK(count_entries(root / ".") == 3);
  }

  TEST_CASE("the size announced is the size sent") {
    const TemporaryRoot root;
    PutFiles files(root);
    for (const std::string content : {"", "short", "much longer than announced"}) {
      CAPTURE(content);
      OperationClient client(files.guest);
      client.send(FrameType::put_files);
      PutFiles::send_entry(client, {kRegular, "/file"}, 10);
      PutFiles::send_content(client, content);
      client.send(FrameType::put_end);
      CHECK(PutFiles::result(client) == "/file: its data has not the size announced");
    }
    CHECK(count_entries(root / ".") == 0);
  }

  TEST_CASE("a host that leaves in the middle leaves no file") {
    const TemporaryRoot root;
    PutFiles files(root);
    {
      OperationClient client(files.guest);
      client.send(FrameType::put_files);
      PutFiles::send_entry(client, {kRegular, "/file"}, 10);
      PutFiles::send_content(client, "half");
    }
    CHECK(count_entries(root / ".") == 0);
  }

  TEST_CASE("frames that do not belong among files") {
    const TemporaryRoot root;
    PutFiles files(root);
    for (const auto type : {FrameType::file_data, FrameType::ok, FrameType::exec}) {
      OperationClient client(files.guest);
      client.send(FrameType::put_files).send(type, "x");
      CHECK(failure_of(client.read()));
    }
    OperationClient client(files.guest);
    client.send(FrameType::put_files).send(FrameType::file_entry, "\xff\xff");
    CHECK(PutFiles::result(client) == "a file entry is not readable");
  }
}

}  // namespace microvm::agent
