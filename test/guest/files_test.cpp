// Files of a running guest: by the library, and by microvm cp.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <span>
#include <thread>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;
namespace fs = std::filesystem;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string read(Vm& vm, const std::string& path, const ReadFileOptions& options = {}) {
  const auto content = vm.read_file(path, options);
  REQUIRE_MESSAGE(content, why(content));
  return {reinterpret_cast<const char*>(content->data()), content->size()};
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Bytes that no block, chunk or frame of repeats.
std::string noise(size_t size) {
  std::string text(size, '\0');
  uint64_t state = 88172645463325252ull;
  for (char& c : text) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    c = static_cast<char>(state);
  }
  return text;
}

std::string sha256(const fs::path& path) {
  FILE* pipe = ::popen(("sha256sum < '" + path.string() + "'").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string digest(64, '\0');
  CHECK(std::fread(digest.data(), 1, digest.size(), pipe) == digest.size());
  ::pclose(pipe);
  return digest;
}

void cp(const std::vector<std::string>& words, int code = 0) {
  std::vector<std::string> line = {"cp"};
  line.insert(line.end(), words.begin(), words.end());
  const auto result = run_cli(line);
  CHECK_MESSAGE(result.code == code, result.out);
}

}  // namespace

TEST_CASE("files are written, read, appended to, listed, renamed and removed") {
  RunningVm vm = run_counter();
  REQUIRE(vm.write_file("/tmp/a file", bytes_of("one\n"), {.mode = 0640, .owner = "nobody"}));
  CHECK(shell(vm, "stat -c '%a %U' '/tmp/a file'; cat '/tmp/a file'") == "640 nobody\none\n");
  REQUIRE(vm.write_file("/tmp/a file", bytes_of("two\n")));
  REQUIRE(vm.append_file("/tmp/a file", bytes_of("three\n")));
  CHECK(read(vm, "/tmp/a file") == "two\nthree\n");
  CHECK(read(vm, "/tmp/a file", {.offset = 4, .length = 5}) == "three");
  CHECK(shell(vm, "stat -c '%a %U' '/tmp/a file'; ls -A /tmp | grep -c microvm-put || true") ==
        "640 nobody\n0\n");
  CHECK(read(vm, "/proc/version").starts_with("Linux version"));

  REQUIRE(vm.make_directory("/tmp/d/e", {.parents = true}));
  REQUIRE(vm.rename_file("/tmp/a file", "/tmp/d/e/renamed"));
  shell(vm, "ln -s renamed /tmp/d/e/link");
  const auto list = vm.list_files("/tmp/d/e");
  REQUIRE_MESSAGE(list, why(list));
  REQUIRE(list->size() == 2);
  CHECK((*list)[0].type == FileType::symlink);
  CHECK((*list)[0].link_target == "renamed");
  CHECK((*list)[1].name == "renamed");
  CHECK((*list)[1].size_bytes == 10);
  CHECK(vm.stat_file("/tmp/d/e/link")->size_bytes == 10);
  REQUIRE(vm.remove_file("/tmp/d", {.recursive = true}));

  const auto gone = vm.read_file("/tmp/d/e/renamed");
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code == ErrorCode::not_found);
  CHECK(gone.error().message.find("/tmp/d/e/renamed") != std::string::npos);
  CHECK(vm.read_file("/tmp").error().code == ErrorCode::invalid_argument);
  CHECK(vm.read_file("/dev/zero").error().code == ErrorCode::invalid_argument);
  CHECK(vm.make_directory("/tmp").error().code == ErrorCode::already_exists);
  CHECK(vm.write_file("/none/x", bytes_of("x")).error().code == ErrorCode::not_found);
  shell(vm,
        "mkdir -p /mnt/small && mount -t tmpfs -o size=64k none /mnt/small && echo old > "
        "/mnt/small/f");
  CHECK(vm.write_file("/mnt/small/f", bytes_of(noise(200'000))).error().code ==
        ErrorCode::out_of_disk);
  CHECK(shell(vm, "cat /mnt/small/f; ls -A /mnt/small") == "old\nf\n");

  // A file larger than every buffer, and the Vm asleep before the calls.
  const std::string large = noise(20u << 20);
  REQUIRE(vm.suspend());
  REQUIRE(vm.write_file("/var/large", bytes_of(large)));
  const TempDir dir;
  std::ofstream(dir.path() / "large", std::ios::binary) << large;
  CHECK(shell(vm, "sha256sum < /var/large").substr(0, 64) == sha256(dir.path() / "large"));
  const auto got = vm.download("/var/large", dir.path(), {.name = "back"});
  REQUIRE_MESSAGE(got, why(got));
  CHECK(text_of(dir.path() / "back") == large);
}

TEST_CASE("microvm cp carries files and trees both ways, as docker does") {
  RunOptions options;
  options.name = "files";
  options.dies_with_owner = false;  // so that the CLI may attach
  RunningVm vm = run_counter(options);
  const TempDir dir;
  fs::create_directories(dir.path() / "tree/sub");
  dir.write("tree/run.sh", "#!/bin/sh\necho ran\n");
  dir.write("tree/sub/data", "data");
  fs::create_symlink("sub/data", dir.path() / "tree/link");
  fs::permissions(dir.path() / "tree/run.sh", static_cast<fs::perms>(0750));
  const std::string tree = (dir.path() / "tree").string();

  cp({tree, "files:/opt"});         // into a directory that is there
  cp({tree, "files:/opt/new"});     // under the name given
  cp({tree + "/.", "files:/srv"});  // only what is in it
  cp({tree + "/run.sh", "files:/usr/local/bin/"});
  cp({tree + "/run.sh", "files:/usr/local/bin/other"});
  CHECK(shell(vm,
              "/opt/tree/run.sh; cat /opt/new/link; readlink /srv/link; run.sh; other; "
              "stat -c '%a %u' /opt/tree/run.sh") == "ran\ndatasub/data\nran\nran\n750 0\n");
  cp({tree, "files:/usr/local/bin/other"}, 1);
  cp({tree + "/run.sh", "files:/none/"}, 1);
  cp({tree + "/none", "files:/opt"}, 1);
  cp({"files:/none", tree}, 1);
  cp({tree, tree}, 2);

  const std::string back = (dir.path() / "back").string();
  cp({"files:/opt/tree", back});
  CHECK(text_of(back + "/sub/data") == "data");
  CHECK(fs::read_symlink(back + "/link") == "sub/data");
  CHECK(fs::status(back + "/run.sh").permissions() == static_cast<fs::perms>(0750));
  cp({"files:/opt/tree", back});
  CHECK(text_of(back + "/tree/sub/data") == "data");
  cp({"files:/opt/tree/link", back + "/as-link"});
  CHECK(fs::is_symlink(back + "/as-link"));
  cp({"-L", "files:/opt/tree/link", back + "/as-file"});
  CHECK(text_of(back + "/as-file") == "data");

  // As tars, through a pipe from one directory of the guest to another.
  const std::string cli = "'" MICROVM_CLI "' --data-dir '" + data_dir().string() + "' cp -q ";
  shell(vm, "mkdir /opt/from-tar");
  const std::string pipe = cli + "files:/opt/tree - | " + cli + "- files:/opt/from-tar";
  CHECK(std::system(pipe.c_str()) == 0);
  CHECK(shell(vm, "/opt/from-tar/tree/run.sh; cat /opt/from-tar/tree/link") == "ran\ndata");
}

TEST_CASE("microvm cp keeps what a file is, and writes where a link of its target leads") {
  constexpr uint64_t kHole = 100u << 20;
  RunOptions options;
  options.name = "kinds";
  options.dies_with_owner = false;  // so that the CLI may attach
  RunningVm vm = run_counter(options);
  const TempDir dir;
  const auto path = [&](const std::string& name) { return (dir.path() / name).string(); };

  // The last link of the target, which the user named.
  dir.write("new", "new");
  shell(vm, "echo old > /etc/real.conf; cd /tmp; ln -s /etc/real.conf link; ln -s ../etc/made d");
  cp({path("new"), "kinds:/tmp/link"});
  cp({path("new"), "kinds:/tmp/d"});
  CHECK(shell(vm, "cat /etc/real.conf /etc/made; readlink /tmp/link /tmp/d") ==
        "newnew/etc/real.conf\n../etc/made\n");
  dir.write("real", "old");
  fs::create_symlink("real", dir.path() / "link");
  fs::create_symlink(dir.path() / "made", dir.path() / "dangling");
  cp({"kinds:/etc/real.conf", path("link")});
  cp({"kinds:/etc/real.conf", path("dangling")});
  CHECK(text_of(path("real")) == "new");
  CHECK(text_of(path("made")) == "new");
  CHECK(fs::is_symlink(path("link")));

  // Files without a size.
  cp({"kinds:/proc/meminfo", path("memory")});
  CHECK(text_of(path("memory")).starts_with("MemTotal:"));
  CHECK(text_of(path("memory")).find("DirectMap") != std::string::npos);
  cp({"kinds:/sys/devices/system/cpu/online", path("cpus")});
  CHECK(text_of(path("cpus")) == shell(vm, "cat /sys/devices/system/cpu/online"));
  CHECK(read(vm, "/sys/devices/system/cpu/online") ==
        shell(vm, "cat /sys/devices/system/cpu/online"));

  // Holes, and two names of one file.
  shell(vm,
        "mkdir /opt/t; cd /opt/t; printf a > s; truncate -s 100M s; printf b >> s; echo x > one; "
        "ln one two");
  const auto begin = std::chrono::steady_clock::now();
  cp({"kinds:/opt/t", path("t")});
  cp({path("t"), "kinds:/opt/back"});
  const auto took = std::chrono::steady_clock::now() - begin;
  MESSAGE("100 MiB of hole out and in: ",
          std::chrono::duration_cast<std::chrono::milliseconds>(took).count(), " ms");
  struct stat status{};
  REQUIRE(::stat(path("t/s").c_str(), &status) == 0);
  CHECK(status.st_size == kHole + 1);
  CHECK(status.st_blocks * 512 < 100'000);
  REQUIRE(::stat(path("t/one").c_str(), &status) == 0);
  CHECK(status.st_nlink == 2);
  CHECK(shell(vm,
              "cd /opt/back; [ $(stat -c %b s) -lt 200 ] && cmp s ../t/s && stat -c %h one && "
              "[ one -ef two ] && echo same") == "2\nsame\n");

  // What was named and can not be carried.
  shell(vm, "mkfifo /opt/t/fifo");
  cp({"kinds:/dev/null", path("null")}, 1);
  cp({"kinds:/opt/t/fifo", path("null")}, 1);
  cp({"/dev/null", "kinds:/tmp/null"}, 1);
  CHECK_FALSE(fs::exists(path("null")));
  cp({"kinds:/opt/t", path("without")});
  CHECK_FALSE(fs::exists(path("without/fifo")));
}

TEST_CASE("what is done to files while others suspend and resume the vm is done, and once") {
  constexpr int kRounds = 3;
  RunOptions options;
  options.name = "restless";
  options.dies_with_owner = false;
  RunningVm vm = run_counter(options);
  const TempDir dir;
  fs::create_directories(dir.path() / "tree/sub");
  dir.write("tree/sub/data", noise(200'000));
  for (int i = 0; i < 20; ++i) dir.write("tree/" + std::to_string(i), "x");
  std::atomic<int> suspends{0};
  std::atomic<int> programs{0};
  {
    std::vector<std::jthread> threads;
    for (int caller = 0; caller < 3; ++caller) {
      threads.emplace_back([&] {
        for (int round = 0; round < kRounds; ++round) {
          const auto slept = vm.suspend();
          if (slept || slept.error().code == ErrorCode::cancelled) ++suspends;
          // cancelled: a resume came before its state was on the disk.
          CHECK_MESSAGE((slept || slept.error().code == ErrorCode::busy ||
                         slept.error().code == ErrorCode::cancelled),
                        why(slept));
          std::this_thread::sleep_for(std::chrono::seconds(1));
        }
      });
      threads.emplace_back([&] {
        for (int round = 0; round < kRounds; ++round) {
          const auto woken = vm.resume();
          CHECK_MESSAGE(woken, why(woken));
          if (vm.exec_collect({.argv = {"true"}})) ++programs;
          std::this_thread::sleep_for(std::chrono::milliseconds(500));
        }
      });
      threads.emplace_back([&, caller] {
        const std::string name = std::to_string(caller);
        for (int round = 0; round < kRounds; ++round) {
          const std::string line = name + " " + std::to_string(round) + "\n";
          const auto appended = vm.append_file("/root/log", bytes_of(line));
          CHECK_MESSAGE(appended, why(appended));
          const auto made = vm.make_directory("/root/d" + name + "-" + std::to_string(round));
          CHECK_MESSAGE(made, why(made));
          const auto up = vm.upload(dir.path() / "tree", "/root", {.name = "t" + name});
          CHECK_MESSAGE(up, why(up));
          const auto down = vm.download("/root/t" + name, dir.path(), {.name = "back" + name});
          CHECK_MESSAGE(down, why(down));
          if (caller == 0) cp({(dir.path() / "tree/1").string(), "restless:/root/by-cli"});
        }
      });
    }
  }
  MESSAGE(suspends.load(), " suspends, ", programs.load(), " programs");
  CHECK(suspends > 0);
  const std::string sorted =
      shell(vm, "sort /root/log | uniq -c | awk '{print $1}' | sort | uniq -c");
  CHECK(sorted.find(std::to_string(3 * kRounds) + " 1\n") != std::string::npos);
  CHECK(shell(vm, "ls -d /root/d* | wc -l; ls -A /root | grep -c microvm-put || true") ==
        std::to_string(3 * kRounds) + "\n0\n");
  for (const char* name : {"back0", "back1", "back2"}) {
    CHECK(text_of(dir.path() / name / "sub/data") == text_of(dir.path() / "tree/sub/data"));
    CHECK(text_of(dir.path() / name / "19") == "x");
  }
}

TEST_CASE("what can not be begun again after a suspend says so, and leaves nothing") {
  RunningVm vm = run_counter();
  int calls = 0;
  const DataSource sleepy = [&](std::span<std::byte> out) -> Result<size_t> {
    if (++calls == 2) CHECK(vm.suspend({.wait_durable = true}));
    std::ranges::fill(out, std::byte{'x'});
    return calls > 3 ? 0 : out.size();
  };
  const auto written = vm.write_file_from("/root/cut", sleepy);
  REQUIRE_FALSE(written);
  CHECK_MESSAGE(written.error().code == ErrorCode::vm_suspended, why(written));
  CHECK(shell(vm, "ls -A /root | grep -c -e cut -e microvm-put || true") == "0\n");

  REQUIRE(vm.write_file("/root/large", bytes_of(noise(3u << 20))));
  int pieces = 0;
  const auto sent = vm.read_file_to("/root/large", [&](std::span<const std::byte>) -> Result<void> {
    if (++pieces == 1) CHECK(vm.suspend({.wait_durable = true}));
    return {};
  });
  REQUIRE_FALSE(sent);
  CHECK_MESSAGE(sent.error().code == ErrorCode::vm_suspended, why(sent));
}

TEST_CASE("a watch tells what the guest's programs do to files, until the vm sleeps") {
  using Kind = FileEvent::Kind;
  const CallLimits soon{nullptr, std::chrono::seconds(60)};
  RunningVm vm = run_counter();
  shell(vm, "mkdir -p /root/seen/below");
  auto watch = vm.watch("/root/seen", {.recursive = true});
  REQUIRE_MESSAGE(watch, why(watch));
  shell(vm,
        "echo x > /root/seen/below/new; mv /root/seen/below/new /root/seen/moved; "
        "rm /root/seen/moved");
  const auto comes = [&](Kind kind, const std::string& path, const std::string& old_path = {}) {
    for (int i = 0; i < 20; ++i) {
      const auto event = watch->next(soon);
      REQUIRE_MESSAGE(event, why(event));
      REQUIRE(event->has_value());
      const FileEvent& seen = **event;
      if (seen.kind == kind && seen.path == path && seen.old_path == old_path) return true;
    }
    return false;
  };
  CHECK(comes(Kind::created, "below/new"));
  CHECK(comes(Kind::modified, "below/new"));
  CHECK(comes(Kind::renamed, "moved", "below/new"));
  CHECK(comes(Kind::removed, "moved"));
  REQUIRE(vm.suspend());
  CHECK(watch->next(soon).error().code == ErrorCode::vm_suspended);
  auto again = vm.watch("/root/seen");  // wakes it
  REQUIRE_MESSAGE(again, why(again));
  shell(vm, "rmdir /root/seen/below /root/seen");
  for (auto event = again->next(soon);; event = again->next(soon)) {
    REQUIRE_MESSAGE(event, why(event));
    if (!*event) break;
  }
  CHECK(vm.watch("/missing").error().code == ErrorCode::not_found);
}
