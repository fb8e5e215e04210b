#include "host/transfer/target_link.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>

#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;
namespace fs = std::filesystem;

TEST_SUITE("target link") {
  TEST_CASE("the last link of the caller's target is followed, to what is not there yet, too") {
    const TempDir dir;
    fs::create_directories(dir / "a/b");
    fs::create_directory(dir / "real");
    std::ofstream(dir / "real/file") << "x";
    fs::create_symlink(dir / "real/file", dir / "absolute");
    fs::create_symlink("real/new", dir / "dangling");
    fs::create_symlink("../../real/file", dir / "a/b/up");
    fs::create_directory_symlink("a/b", dir / "elsewhere");  // "up" is not below dir/elsewhere/..
    fs::create_symlink("dangling", dir / "twice");
    fs::create_directory_symlink("real/", dir / "slash");
    fs::create_directory_symlink("a/..", dir / "dots");
    const auto path = [](const Result<CopyTarget>& target) {
      REQUIRE_MESSAGE(target, target.error().message);
      CHECK_FALSE(target->name.empty());
      return fs::weakly_canonical(target->directory) / target->name;
    };
    const fs::path top = fs::canonical(dir.path());
    CHECK(path(follow_target({dir.path(), "none"})) == top / "none");
    CHECK(path(follow_target({dir / "real", "file"})) == top / "real/file");
    CHECK(path(follow_target({dir.path(), "absolute"})) == top / "real/file");
    CHECK(path(follow_target({dir.path(), "dangling"})) == top / "real/new");
    CHECK(path(follow_target({dir.path(), "twice"})) == top / "real/new");
    CHECK(path(follow_target({dir / "elsewhere", "up"})) == top / "real/file");
    CHECK(path(follow_target({dir.path(), "slash"})) == top / "real");
    CHECK(path(follow_target({dir.path(), "dots"})) == top);
  }

  TEST_CASE("a circle, a device, and a directory that is not there") {
    const TempDir dir;
    fs::create_symlink("two", dir / "one");
    fs::create_symlink("one", dir / "two");
    fs::create_symlink("/dev/null", dir / "null");
    ::mkfifo((dir / "fifo").c_str(), 0600);
    fs::create_symlink("fifo", dir / "to-fifo");
    fs::create_directory_symlink("none/", dir / "gone");
    for (const char* name : {"one", "null", "to-fifo"}) {
      CAPTURE(name);
      const auto target = follow_target({dir.path(), name});
      REQUIRE_FALSE(target);
      CHECK(target.error().code == ErrorCode::invalid_argument);
    }
    CHECK(follow_target({dir.path(), "gone"}).error().code == ErrorCode::not_found);
    CHECK(follow_target({dir.path(), "fifo"}));  // named itself: it is replaced, as ever
  }
}
