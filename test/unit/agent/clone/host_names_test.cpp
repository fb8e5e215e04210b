#include "agent/clone/host_names.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "unit/agent/temporary_root.hpp"

namespace microvm::agent {
namespace {

namespace fs = std::filesystem;

const std::string kLoopback = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

std::string line_of(const std::string& name) {
  return "127.0.1.1\t" + name + std::string(64 - name.size(), ' ') +
         "\t# the name of this microVM\n";
}

ino_t inode(const fs::path& path) {
  struct stat status{};
  REQUIRE(stat(path.c_str(), &status) == 0);
  return status.st_ino;
}

}  // namespace

TEST_SUITE("agent host names") {
  TEST_CASE("both files are made, with /etc") {
    const TemporaryRoot root;
    REQUIRE(write_hostname(root.fd(), "one"));
    REQUIRE(write_hosts(root.fd(), "one"));
    CHECK(root.read("etc/hostname") == "one\n");
    CHECK(root.read("etc/hosts") == kLoopback + line_of("one"));
    const auto world_readable = fs::perms::others_read;
    CHECK((fs::status(root / "etc/hosts").permissions() & world_readable) == world_readable);
    CHECK((fs::status(root / "etc").permissions() & fs::perms::others_exec) != fs::perms::none);
  }

  TEST_CASE("another name takes the place of the one before, in the same file") {
    const TemporaryRoot root;
    root.write("etc/hosts", "127.0.0.1 localhost\n10.0.0.9 db\n");
    REQUIRE(write_hosts(root.fd(), "one"));
    CHECK(root.read("etc/hosts") == line_of("one") + "127.0.0.1 localhost\n10.0.0.9 db\n");
    const ino_t before = inode(root / "etc/hosts");
    for (const std::string& name : {std::string(63, 'x'), std::string("b"), std::string("b.c-d")}) {
      REQUIRE(write_hosts(root.fd(), name));
      CHECK(root.read("etc/hosts") == line_of(name) + "127.0.0.1 localhost\n10.0.0.9 db\n");
      REQUIRE(write_hostname(root.fd(), name));
      CHECK(root.read("etc/hostname") == name + "\n");
    }
    CHECK(inode(root / "etc/hosts") == before);
  }

  TEST_CASE("what the user has written around the line is kept") {
    const TemporaryRoot root;
    const std::string list(10'000, '#');
    root.write("etc/hosts", list + "\n" + line_of("old") + "127.0.0.1 localhost\n" +
                                line_of("older") + "10.0.0.9 db");
    REQUIRE(write_hosts(root.fd(), "new"));
    CHECK(root.read("etc/hosts") == line_of("new") + list + "\n127.0.0.1 localhost\n10.0.0.9 db");
    root.write("etc/hosts", "10.0.0.9 db\n" + line_of("old") + "10.0.0.8 web\n");
    REQUIRE(write_hosts(root.fd(), "new"));
    CHECK(root.read("etc/hosts") == "10.0.0.9 db\n" + line_of("new") + "10.0.0.8 web\n");
    root.write("etc/hosts", "");
    REQUIRE(write_hosts(root.fd(), "new"));
    CHECK(root.read("etc/hosts") == kLoopback + line_of("new"));
  }

  TEST_CASE("a line that somebody has changed is replaced") {
    const TemporaryRoot root;
    const std::string longer = "127.0.1.1 old alias\t# the name of this microVM\n";
    root.write("etc/hosts", "127.0.0.1 localhost\n" + longer);
    REQUIRE(write_hosts(root.fd(), "new"));
    CHECK(root.read("etc/hosts") == line_of("new") + "127.0.0.1 localhost\n");
  }

  TEST_CASE("links are followed inside the root, dangling ones replaced") {
    const TemporaryRoot root;
    root.write("data/hosts", "127.0.0.1 localhost\n");
    root.write("data/name", "a longer name than the new one\n");
    fs::create_directories(root / "etc");
    fs::create_symlink("/data/hosts", root / "etc/hosts");
    fs::create_symlink("../../../data/name", root / "etc/hostname");
    for (const std::string name : {"one", "two"}) {
      REQUIRE(write_hosts(root.fd(), name));
      REQUIRE(write_hostname(root.fd(), name));
      CHECK(root.read("data/hosts") == line_of(name) + "127.0.0.1 localhost\n");
      CHECK(root.read("data/name") == name + "\n");
    }
    CHECK(fs::is_symlink(root / "etc/hosts"));
    fs::remove(root / "data/hosts");
    fs::remove(root / "data/name");
    REQUIRE(write_hosts(root.fd(), "one"));
    REQUIRE(write_hostname(root.fd(), "one"));
    CHECK(root.read("etc/hosts") == kLoopback + line_of("one"));
    CHECK(root.read("etc/hostname") == "one\n");
  }

  TEST_CASE("what is no regular file is left alone, and nothing blocks") {
    const TemporaryRoot root;
    fs::create_directories(root / "etc/hostname");
    REQUIRE(mkfifo((root / "etc/hosts").c_str(), 0644) == 0);
    CHECK(write_hosts(root.fd(), "one"));
    CHECK(write_hostname(root.fd(), "one"));
    CHECK(fs::is_fifo(root / "etc/hosts"));
    CHECK(fs::is_directory(root / "etc/hostname"));
  }

  TEST_CASE("a root that cannot hold them is said") {
    const TemporaryRoot root;
    root.write("etc", "");
    CHECK_FALSE(write_hosts(root.fd(), "one"));
    CHECK_FALSE(write_hostname(root.fd(), "one"));
  }

  TEST_CASE("a file full of marks takes no quadratic time") {
    const TemporaryRoot root;
    std::string hosts(5000, '#');
    for (int i = 0; i < 200'000; ++i) hosts += "\n\t# the name of this microVM\n";
    root.write("etc/hosts", hosts);
    REQUIRE(write_hosts(root.fd(), "one"));
    CHECK(root.read("etc/hosts").find("\t# the name of this microVM\n", 200) == std::string::npos);
  }
}

}  // namespace microvm::agent
