#include "host/image/base_import.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "host/image/ext4_fixtures.hpp"
#include "host/store/files.hpp"
#include "host/temp_dir.hpp"
#include "suite/skip.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;

namespace {

constexpr uint64_t kDisk = 64u << 20;

struct Fixture {
  test::TempDir dir;
  Store store = *Store::open(dir / "data");

  std::filesystem::path tar() { return dir / "root.tar"; }
  Result<BaseInfo> import(const std::filesystem::path& file, uint64_t disk_bytes = kDisk) {
    return import_base(store, {"test:1", file, disk_bytes, {}});
  }
  std::filesystem::path disk() {
    const auto base = store.open_base("test:1");
    REQUIRE(base);
    return base->path(base->manifest.disk);
  }
  Error error_of(const std::filesystem::path& file, uint64_t disk_bytes = kDisk) {
    const auto info = import(file, disk_bytes);
    REQUIRE_FALSE(info);
    CHECK(info.error().message.find('\n') == std::string::npos);
    CHECK(store.bases()->items.empty());
    CHECK(list_dir(store.data_dir() / "tmp")->size() <= 1);  // the lock file
    return info.error();
  }
};

std::string noise(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

}  // namespace

TEST_CASE("base import: every kind of entry arrives as it was") {
  Fixture fixture;
  const std::string capability("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  const std::string long_target(200, 't');
  TarMaker(fixture.tar())
      .dir("./")
      .dir("./etc", 0750)
      .file("./etc/hello", "hello",
            [](archive_entry* entry) {
              archive_entry_set_mode(entry, AE_IFREG | 04755);
              archive_entry_set_uid(entry, 70000);
              archive_entry_set_gid(entry, 80000);
              archive_entry_set_mtime(entry, 3'000'000'000, 123'456'789);
            })
      .file("./etc/ping", "x",
            [&](archive_entry* entry) {
              archive_entry_xattr_add_entry(entry, "security.capability", capability.data(),
                                            capability.size());
              archive_entry_xattr_add_entry(entry, "user.large", long_target.data(),
                                            long_target.size());
            })
      .symlink("./short", "etc/hello")
      .symlink("./long", long_target)
      .hard_link("./again", "./etc/hello")
      .special("./null", AE_IFCHR | 0666, 1, 3)
      .special("./large", AE_IFBLK | 0600, 259, 70000)
      .special("./pipe", AE_IFIFO | 0600, 0, 0)
      .file("./names/\xc3\xbc \xff", "bytes")
      .done();
  REQUIRE(fixture.import(fixture.tar()));
  CHECK(fsck_clean(fixture.disk()));

  Ext4Reader disk(fixture.disk());
  CHECK(disk.content("/etc/hello") == "hello");
  const auto hello = disk.inode("/etc/hello");
  CHECK((hello.i_mode & 07777) == 04755);
  CHECK((hello.i_uid | hello.osd2.linux2.l_i_uid_high << 16) == 70000);
  CHECK((hello.i_gid | hello.osd2.linux2.l_i_gid_high << 16) == 80000);
  CHECK(hello.i_mtime == 3'000'000'000u);
  CHECK(hello.i_mtime_extra == (123'456'789u << 2 | 1));  // past 2038
  CHECK(hello.i_links_count == 2);
  CHECK(disk.find("/again") == disk.find("/etc/hello"));
  CHECK(disk.xattr("/etc/ping", "security.capability") == capability);
  CHECK(disk.xattr("/etc/ping", "user.large") == long_target);
  CHECK((disk.inode("/etc").i_mode & 07777) == 0750);
  CHECK(std::string(reinterpret_cast<const char*>(disk.inode("/short").i_block)) == "etc/hello");
  CHECK(disk.inode("/long").i_size == long_target.size());
  CHECK(disk.inode("/null").i_block[0] == 0x103);
  CHECK(disk.inode("/large").i_block[1] == ((70000 & 0xff) | 259 << 8 | (70000 & ~0xff) << 12));
  CHECK(LINUX_S_ISFIFO(disk.inode("/pipe").i_mode));
  CHECK(disk.content("/names/\xc3\xbc \xff") == "bytes");
}

TEST_CASE("base import: the same tar gives the same digest, another one another") {
  Fixture fixture;
  const auto make = [&](const char* name, const std::string& content, bool zstd) {
    return TarMaker(fixture.dir / name, zstd)
        .file("a", content)
        .file("b", noise(100'000, 1))
        .symlink("c", std::string(100, 'x'))
        .done();
  };
  const auto first = fixture.import(make("1.tar", "one", false));
  const auto second = fixture.import(make("2.tar.zst", "one", true));
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->digest == second->digest);
  CHECK(first->size_bytes == kDisk);
  CHECK(fixture.import(make("3.tar", "two", false))->digest != first->digest);
  CHECK(list_dir(fixture.store.data_dir() / "bases")->size() == 1);  // the unnamed one is gone
}

TEST_CASE("base import: large, sparse and many files") {
  Fixture fixture;
  const auto large = noise(9u << 20, 2);
  const std::string zeros(3u << 20, '\0');
  // Data of one block every 64 KiB: more runs than an inode holds.
  std::string striped(8u << 20, '\0');
  TarMaker tar(fixture.tar());
  for (size_t at = 0; at < striped.size(); at += 65536) striped.replace(at, 4096, noise(4096, 3));
  tar.file("large", large).file("zeros", zeros).file("striped", striped, [&](archive_entry* entry) {
    for (size_t at = 0; at < striped.size(); at += 65536)
      archive_entry_sparse_add_entry(entry, static_cast<la_int64_t>(at), 4096);
  });
  for (int i = 0; i < 1500; ++i)
    tar.file("many/a name that makes the directory larger " + std::to_string(i), std::to_string(i));
  tar.done();
  REQUIRE(fixture.import(fixture.tar()));
  CHECK(fsck_clean(fixture.disk()));
  Ext4Reader disk(fixture.disk());
  CHECK(disk.content("/large") == large);
  CHECK(disk.content("/zeros") == zeros);
  CHECK(disk.content("/striped") == striped);
  CHECK(disk.inode("/many").i_size > 50'000);
  CHECK(disk.content("/many/a name that makes the directory larger 1499") == "1499");
  struct stat info{};
  REQUIRE(::stat(fixture.disk().c_str(), &info) == 0);
  CHECK(info.st_size == kDisk);
  CHECK(info.st_blocks * 512 < 16u << 20);
}

TEST_CASE("base import: replaced files do not take the disk's blocks") {
  Fixture fixture;
  TarMaker tar(fixture.tar());
  for (unsigned i = 0; i < 5; ++i) tar.file("same", noise(1u << 20, i));
  tar.file("dir/below", "x").symlink("dir", "same").done();
  REQUIRE(fixture.import(fixture.tar()));
  CHECK(fsck_clean(fixture.disk()));
  Ext4Reader disk(fixture.disk());
  CHECK(disk.content("/same") == noise(1u << 20, 4));
}

TEST_CASE("base import: hostile entries are refused by name") {
  Fixture fixture;
  CHECK(fixture.error_of(TarMaker(fixture.tar()).file("a/../../x", "x").done()).code ==
        ErrorCode::corrupt);
  const auto missing = fixture.error_of(TarMaker(fixture.tar()).hard_link("a", "b").done());
  CHECK(missing.code == ErrorCode::corrupt);
  CHECK(missing.message.find("root.tar: entry \"a\"") != std::string::npos);
  CHECK(fixture.error_of(TarMaker(fixture.tar()).file("f", "x").file("f/x", "x").done()).code ==
        ErrorCode::corrupt);
  CHECK(fixture.error_of(TarMaker(fixture.tar()).file(std::string(256, 'n'), "x").done()).code ==
        ErrorCode::corrupt);
  const std::string huge(5000, 'v');
  const auto with_huge =
      TarMaker(fixture.tar())
          .file("f", "x",
                [&](archive_entry* entry) {
                  archive_entry_xattr_add_entry(entry, "user.a", huge.data(), huge.size());
                })
          .done();
  CHECK(fixture.error_of(with_huge).code == ErrorCode::invalid_argument);
}

TEST_CASE("base import: what is no tar, or half of one, is corrupt") {
  Fixture fixture;
  CHECK(fixture.error_of(fixture.dir / "none").code == ErrorCode::not_found);
  std::ofstream(fixture.dir / "text") << "this is not a tar";
  CHECK(fixture.error_of(fixture.dir / "text").code == ErrorCode::corrupt);
  std::ofstream(fixture.dir / "empty") << "";
  CHECK(fixture.error_of(fixture.dir / "empty").code == ErrorCode::corrupt);
  CHECK(fixture.error_of(TarMaker(fixture.tar()).done()).code == ErrorCode::corrupt);
  const auto whole = TarMaker(fixture.dir / "zst", true).file("a", noise(1u << 20, 5)).done();
  std::filesystem::resize_file(whole, std::filesystem::file_size(whole) / 2);
  CHECK(fixture.error_of(whole).code == ErrorCode::corrupt);
}

TEST_CASE("base import: bad names and sizes are the caller's fault") {
  Fixture fixture;
  TarMaker(fixture.tar()).file("a", "x").done();
  for (const uint64_t size : {0ull, 1ull << 20, (64ull << 20) + 1, 1ull << 60})
    CHECK(fixture.error_of(fixture.tar(), size).code == ErrorCode::invalid_argument);
  CHECK(import_base(fixture.store, {"Bad Name", fixture.tar(), kDisk, {}}).error().code ==
        ErrorCode::invalid_argument);
}

TEST_CASE("base import: content larger than the disk says so") {
  Fixture fixture;
  TarMaker(fixture.tar()).file("large", noise(24u << 20, 6)).done();
  const auto error = fixture.error_of(fixture.tar(), 16u << 20);
  CHECK(error.code == ErrorCode::invalid_argument);
  CHECK(error.message.find("larger disk size") != std::string::npos);
  TarMaker almost(fixture.tar());
  almost.file("large", noise(14u << 20, 6)).done();  // no room left for the journal
  CHECK(fixture.error_of(fixture.tar(), 16u << 20).code == ErrorCode::invalid_argument);
}

TEST_CASE("base import: progress goes up to the whole; cancel ends it") {
  Fixture fixture;
  TarMaker(fixture.tar()).file("a", noise(20u << 20, 7)).file("b", "x").done();
  std::vector<uint64_t> seen;
  uint64_t total = 0;
  CancelToken token;
  BaseImportOptions options{"test:1", fixture.tar(), kDisk, [&](const Progress& progress) {
                              seen.push_back(progress.done);
                              total = progress.total;
                            }};
  REQUIRE(import_base(fixture.store, options));
  CHECK(seen.size() >= 3);
  CHECK(std::ranges::is_sorted(seen));
  CHECK(total == std::filesystem::file_size(fixture.tar()));
  CHECK(seen.back() <= total);
  REQUIRE(fixture.store.remove_base("test:1"));

  options.progress = [&](const Progress&) { token.cancel(); };
  const auto cancelled = import_base(fixture.store, options, {&token, {}});
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code == ErrorCode::cancelled);
  CHECK(list_dir(fixture.store.data_dir() / "tmp")->size() <= 1);
}

// An extent of a file holds 32,768 blocks at most: more is another kind of extent, of blocks that
// read as zeros. Groups of blocks without a copy of the superblock lie beside each other, so that a
// large file has more than that in one piece.
TEST_CASE("base import: files of more than 128 MiB in one piece are whole") {
  constexpr size_t kMega = size_t{1} << 20;
  Fixture fixture;
  std::string first(129 * kMega, '\0');
  std::string second(140 * kMega, '\0');
  for (std::string* text : {&first, &second}) {
    for (size_t at = 0; at < text->size(); at += kMega) {
      const std::string mark = std::to_string(at) + " of " + std::to_string(text->size());
      text->replace(at, mark.size(), mark);
    }
  }
  TarMaker(fixture.tar(), /*zstd=*/true).file("first", first).file("second", second).done();
  REQUIRE(fixture.import(fixture.tar(), 512 * kMega));
  CHECK(fsck_clean(fixture.disk()));
  Ext4Reader reader(fixture.disk());
  CHECK((reader.content("/first") == first));
  CHECK((reader.content("/second") == second));
  CHECK(reader.longest_run("/second") == 32'768);
}

namespace {

enum Outcome { imported = 0, full = 1, wrong = 2, no_mount = 3 };

void write_line(const char* path, const std::string& line) {
  std::ofstream(path) << line;
}

// A mount namespace of this process's own; without root, in a user namespace where it is root.
bool isolate_mounts() {
  const auto uid = std::to_string(::geteuid());
  const auto gid = std::to_string(::getegid());
  if (::unshare(CLONE_NEWNS | (uid == "0" ? 0 : CLONE_NEWUSER)) != 0) return false;
  if (uid != "0") {
    write_line("/proc/self/setgroups", "deny");
    write_line("/proc/self/uid_map", "0 " + uid + " 1");
    write_line("/proc/self/gid_map", "0 " + gid + " 1");
  }
  return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// In a child whose data directory has `bytes` of space.
Outcome import_on_small_disk(const std::filesystem::path& tar, const std::filesystem::path& mount,
                             size_t bytes) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string size = "size=" + std::to_string(bytes);
    if (!isolate_mounts() || ::mount("tmpfs", mount.c_str(), "tmpfs", 0, size.c_str()) != 0)
      ::_exit(no_mount);
    const auto store = Store::open(mount / "data");
    if (!store) ::_exit(store.error().code == ErrorCode::out_of_disk ? full : wrong);
    const auto info = import_base(*store, {"test:1", tar, kDisk, {}});
    const auto left = list_dir(mount / "data/tmp");
    const auto bases = list_dir(mount / "data/bases");
    const bool clean = left && left->size() <= 1 && bases && bases->size() == (info ? 1 : 0);
    if (!clean) ::_exit(wrong);
    if (info)
      ::_exit(fsck_clean(mount / "data/bases" / info->digest / "disk.ext4") ? imported : wrong);
    ::_exit(info.error().code == ErrorCode::out_of_disk ? full : wrong);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? static_cast<Outcome>(WEXITSTATUS(status)) : wrong;
}

}  // namespace

TEST_CASE("base import: a full host disk is out_of_disk and leaves nothing, wherever it fills up") {
  Fixture fixture;
  TarMaker tar(fixture.tar());
  for (unsigned i = 0; i < 20; ++i) tar.file("f" + std::to_string(i), noise(20'000, i));
  tar.done();
  std::filesystem::create_directory(fixture.dir / "mount");
  bool was_full = false;
  bool was_imported = false;
  for (size_t kib = 32; kib <= 1024; kib += 48) {
    const auto outcome = import_on_small_disk(fixture.tar(), fixture.dir / "mount", kib * 1024);
    if (outcome == no_mount) SKIP_CASE("needs a mount namespace, for a small disk");
    CAPTURE(kib);
    CHECK(outcome != wrong);
    was_full = was_full || outcome == full;
    was_imported = was_imported || outcome == imported;
  }
  CHECK(was_full);
  CHECK(was_imported);
}
