#include "agent/program/user.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "unit/agent/temporary_root.hpp"

namespace microvm::agent {
namespace {

struct Databases : TemporaryRoot {
  Databases() {
    write("etc/passwd",
          "root:x:0:0:root:/root:/bin/sh\n"
          "broken line\n"
          "nouid:x:abc:1::/:\n"
          "app:x:1000:1001:An App:/home/app:/bin/sh\n"
          "homeless:x:1002:1002::\n"
          "1000000:x:77:77::/odd:\n");
    write("etc/group",
          "root:x:0:\n"
          "app:x:1001:\n"
          "audio:x:29:other,app\n"
          "video:x:44:app\n"
          "apple:x:45:apple\n"
          "bad:x:zz:app\n");
  }
};

}  // namespace

TEST_SUITE("agent user") {
  TEST_CASE("names and numbers") {
    const Databases root;
    const struct {
      const char* text;
      uid_t uid;
      gid_t gid;
      std::vector<gid_t> groups;
      const char* home;
    } cases[] = {
        {"", 0, 0, {}, "/root"},
        {"app", 1000, 1001, {29, 44}, "/home/app"},
        {"1000", 1000, 1001, {29, 44}, "/home/app"},
        {"app:audio", 1000, 29, {}, "/home/app"},
        {"app:4000", 1000, 4000, {}, "/home/app"},
        {"4321", 4321, 0, {}, "/"},
        {"4321:8765", 4321, 8765, {}, "/"},
        {"homeless", 1002, 1002, {}, "/"},
        {"1000000", 77, 77, {}, "/odd"},
    };
    for (const auto& expected : cases) {
      CAPTURE(expected.text);
      const auto user = find_user(root.fd(), expected.text);
      REQUIRE(user);
      CHECK(user->uid == expected.uid);
      CHECK(user->gid == expected.gid);
      CHECK(user->groups == expected.groups);
      CHECK(user->home == expected.home);
    }
  }

  TEST_CASE("what does not exist is named") {
    const Databases root;
    for (const char* text : {"bob", "nouid", "4294967295", "-1", "99999999999", "app ",
                             "app:", "app:x", "app:4294967295", ":nogroup"}) {
      CAPTURE(text);
      CHECK_FALSE(find_user(root.fd(), text));
    }
    CHECK(find_user(root.fd(), "bob").error().message.find("\"bob\"") != std::string::npos);
    CHECK(find_user(root.fd(), "app:x").error().message.find("\"x\"") != std::string::npos);
  }

  TEST_CASE("an image without databases has root and numbers") {
    const TemporaryRoot root;
    REQUIRE(find_user(root.fd(), ""));
    CHECK(find_user(root.fd(), "")->home == "/");
    CHECK(find_user(root.fd(), "12:34")->gid == 34);
    CHECK_FALSE(find_user(root.fd(), "root"));
  }

  TEST_CASE("hostile databases") {
    const TemporaryRoot root;
    std::filesystem::create_directories(root / "etc");
    mkfifo((root / "etc/passwd").c_str(), 0666);
    CHECK_FALSE(find_user(root.fd(), "root"));  // and does not hang
    std::filesystem::remove(root / "etc/passwd");
    root.write("etc/passwd", "app:x:5:5::/:\n" + std::string(2 * 1024 * 1024, 'x'));
    CHECK_FALSE(find_user(root.fd(), "app"));
  }

  TEST_CASE("links stay inside the root") {
    const Databases root;
    std::filesystem::rename(root / "etc/passwd", root / "passwd");
    std::filesystem::create_symlink("/passwd", root / "etc/passwd");
    CHECK(find_user(root.fd(), "app"));
    std::filesystem::remove(root / "etc/passwd");
    std::filesystem::create_symlink("../../../../../../passwd", root / "etc/passwd");
    CHECK(find_user(root.fd(), "app"));
  }

  TEST_CASE("the number of groups is bounded") {
    const TemporaryRoot root;
    root.write("etc/passwd", "app:x:1:1::/:\n");
    std::string groups;
    for (int i = 0; i < 1000; i++)
      groups += "g" + std::to_string(i) + ":x:" + std::to_string(i) + ":app\n";
    root.write("etc/group", groups);
    CHECK(find_user(root.fd(), "app")->groups.size() == kMaxGroups);
  }
}

}  // namespace microvm::agent
