// Between the open of an entry's file and the lock on it the entry may go, or be another one.
#include "host/store/entry_lock.hpp"

#include <doctest/doctest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <fstream>

#include "host/store/files.hpp"
#include "unit/file_calls.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
namespace fs = std::filesystem;

namespace {

struct Fixture {
  Fixture() { make(entry); }
  static void make(const fs::path& dir) {
    fs::create_directory(dir);
    std::ofstream(dir / kInUseFile) << "";
  }
  // Done once, or each time, when the file is open and not yet locked.
  void before_lock(const std::function<void()>& change, bool once = true) {
    calls.before_each([=, this](const test::FileCall& call) {
      if (call.what != "lock" || (++locks > 1 && once)) return;
      change();
    });
  }
  void swap_entry() {
    fs::remove_all(other);
    make(other);
    REQUIRE(rename_swap(other, entry));
  }
  [[nodiscard]] bool is_of_entry(const base::Fd& fd) const {
    struct stat locked{};
    struct stat there{};
    return ::fstat(fd.get(), &locked) == 0 && ::stat((entry / kInUseFile).c_str(), &there) == 0 &&
           locked.st_ino == there.st_ino;
  }

  test::TempDir dir;
  const fs::path entry = dir / "entry";
  const fs::path other = dir / "other";
  int locks = 0;
  test::FileCalls calls{dir.path()};
};

using Lock = Result<base::Fd> (*)(const fs::path&, const std::string&);
constexpr Lock kLocks[] = {lock_entry_shared, lock_entry_exclusive};

}  // namespace

TEST_CASE("entry lock: of an entry that went away meanwhile there is none") {
  for (const Lock lock : kLocks) {
    Fixture t;
    t.before_lock([&] { fs::rename(t.entry, t.other); });
    const auto locked = lock(t.entry, "image app:1");
    REQUIRE_FALSE(locked);
    CHECK(locked.error().code == ErrorCode::not_found);
    CHECK(locked.error().message == "image app:1: not found");
  }
}

TEST_CASE("entry lock: of an entry that was removed meanwhile there is none") {
  for (const Lock lock : kLocks) {
    Fixture t;
    t.before_lock([&] { fs::remove_all(t.entry); });
    CHECK(lock(t.entry, "image app:1").error().code == ErrorCode::not_found);
  }
}

TEST_CASE("entry lock: of one that was replaced meanwhile it is the new one's") {
  for (const Lock lock : kLocks) {
    Fixture t;
    t.before_lock([&] { t.swap_entry(); });
    const auto locked = lock(t.entry, "image app:1");
    REQUIRE(locked);
    CHECK(t.is_of_entry(*locked));
    CHECK(t.locks == 2);
  }
}

TEST_CASE("entry lock: who is always too late is told that it is busy") {
  for (const Lock lock : kLocks) {
    Fixture t;
    t.before_lock([&] { t.swap_entry(); }, false);
    const auto locked = lock(t.entry, "image app:1");
    REQUIRE_FALSE(locked);
    CHECK(locked.error().code == ErrorCode::busy);
    CHECK(locked.error().message == "image app:1: is being replaced");
    CHECK(t.locks == 16);
  }
}

TEST_CASE("entry lock: users do not exclude each other, who takes it away excludes all") {
  const Fixture t;
  {
    const auto user = lock_entry_shared(t.entry, "image app:1");
    REQUIRE(user);
    CHECK(lock_entry_shared(t.entry, "image app:1"));
    CHECK(lock_entry_exclusive(t.entry, "image app:1").error().code == ErrorCode::busy);
  }
  const auto alone = lock_entry_exclusive(t.entry, "image app:1");
  REQUIRE(alone);
  CHECK(lock_entry_exclusive(t.entry, "image app:1").error().code == ErrorCode::busy);
}
