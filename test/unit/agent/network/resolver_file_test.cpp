#include "agent/network/resolver_file.hpp"

#include <doctest/doctest.h>

#include "suite/skip.hpp"
#include "unit/agent/network/in_namespace.hpp"
#include "unit/agent/temporary_root.hpp"

namespace microvm::agent {
namespace {

namespace fs = std::filesystem;

// What a program finds in the root's /etc/resolv.conf once it is mounted and written; then the
// mount is gone with its namespace, and what the disk has is left.
Ended mounted_shows(const TemporaryRoot& root, const std::string& text) {
  const fs::path staging = root / "staging";
  fs::create_directories(staging);
  return in_namespace([&] {
    ResolverFile file;
    const auto mounted = file.mount(open_here(root / "").get(), staging.c_str());
    if (!mounted) std::fprintf(stderr, "%s\n", mounted.error().message.c_str());
    return mounted && file.write("a longer text that was before\n") && file.write(text) &&
           root.read("etc/resolv.conf") == text && fs::is_empty(staging);
  });
}

}  // namespace

TEST_SUITE("agent resolver file") {
  TEST_CASE("its text") {
    CHECK(resolver_text({IpAddress(wire::kResolverIpv4)}, "") ==
          "# of this microVM's network, not of its image\nnameserver 10.0.2.3\n");
    CHECK(resolver_text({IpAddress(wire::kResolverIpv6)}, "a.example b.example") ==
          "# of this microVM's network, not of its image\nnameserver fd6d:766d::3\n"
          "search a.example b.example\n");
  }

  TEST_CASE("the image's own stays as it is below") {
    const TemporaryRoot root;
    root.write("etc/resolv.conf", "nameserver 192.0.2.1\n");
    const Ended ended = mounted_shows(root, "mine\n");
    if (ended == Ended::not_to_be_had) SKIP_CASE("needs user namespaces");
    CHECK(ended == Ended::good);
    CHECK(root.read("etc/resolv.conf") == "nameserver 192.0.2.1\n");
  }

  TEST_CASE("an empty one is made where there is none") {
    for (const bool with_etc : {true, false}) {
      const TemporaryRoot root;
      if (with_etc) fs::create_directories(root / "etc");
      const Ended ended = mounted_shows(root, "mine\n");
      if (ended == Ended::not_to_be_had) SKIP_CASE("needs user namespaces");
      CHECK(ended == Ended::good);
      CHECK(fs::file_size(root / "etc/resolv.conf") == 0);
    }
  }

  TEST_CASE("a link is followed inside the root, what it names is made") {
    for (const char* target : {"/run/resolve/stub.conf", "../run/resolve/stub.conf",
                               "../../../../run/resolve/stub.conf"}) {
      const TemporaryRoot root;
      fs::create_directories(root / "etc");
      fs::create_symlink(target, root / "etc/resolv.conf");
      const fs::path staging = root / "staging";
      fs::create_directories(staging);
      const Ended ended = in_namespace([&] {
        ResolverFile file;
        return file.mount(open_here(root / "").get(), staging.c_str()) && file.write("mine\n") &&
               root.read("run/resolve/stub.conf") == "mine\n";
      });
      if (ended == Ended::not_to_be_had) SKIP_CASE("needs user namespaces");
      CHECK(ended == Ended::good);
      CHECK(fs::file_size(root / "run/resolve/stub.conf") == 0);
      CHECK(fs::is_symlink(root / "etc/resolv.conf"));
    }
  }

  TEST_CASE("what is no file is left alone") {
    const TemporaryRoot root;
    fs::create_directories(root / "etc/resolv.conf");
    fs::create_directories(root / "staging");
    ResolverFile file;
    CHECK_FALSE(file.mount(root.fd(), (root / "staging").c_str()));
    CHECK(file.write("nowhere\n"));
  }

  TEST_CASE("a program's own content stays until there is other to write") {
    const TemporaryRoot root;
    root.write("etc/resolv.conf", "");
    fs::create_directories(root / "staging");
    const Ended ended = in_namespace([&] {
      ResolverFile file;
      if (!file.mount(open_here(root / "").get(), (root / "staging").c_str()) ||
          !file.write("one\n"))
        return false;
      root.write("etc/resolv.conf", "a program's\n");
      if (!file.write("one\n") || root.read("etc/resolv.conf") != "a program's\n") return false;
      return file.write("two\n") && root.read("etc/resolv.conf") == "two\n";
    });
    if (ended == Ended::not_to_be_had) SKIP_CASE("needs user namespaces");
    CHECK(ended == Ended::good);
  }
}

}  // namespace microvm::agent
