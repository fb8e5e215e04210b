#include "host/image/file_tree.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::host;

namespace {

Node file() {
  Node node;
  node.kind = NodeKind::file;
  return node;
}

Node link_to(const std::string& target) {
  Node node;
  node.kind = NodeKind::symlink;
  node.target = target;
  return node;
}

}  // namespace

TEST_CASE("file tree: parents are made, '.' and slashes mean nothing") {
  FileTree tree(100);
  const auto id = tree.add("./usr//bin/./x", file());
  REQUIRE(id);
  CHECK(*tree.find("/usr/bin/x") == *id);
  CHECK(tree.node(*tree.find("usr")).permissions == 0755);
  CHECK(*tree.find("./") == FileTree::kRoot);
  CHECK(tree.walk().size() == 4);
}

TEST_CASE("file tree: a path cannot leave the root") {
  FileTree tree(100);
  for (const char* path : {"../x", "a/../../x", "/..", "a/.."})
    CHECK(tree.add(path, file()).error().code == ErrorCode::corrupt);
  CHECK_FALSE(tree.add_hard_link("x", "../../etc/passwd"));
  CHECK(tree.walk().size() == 1);
}

TEST_CASE("file tree: symlinks in a path stay inside the root") {
  FileTree tree(100);
  REQUIRE(tree.add("lib", link_to("usr/lib")));
  REQUIRE(tree.add("out", link_to("../../../../etc")));
  REQUIRE(tree.add("abs", link_to("/etc")));
  const auto in_lib = tree.add("lib/a", file());
  const auto in_etc = tree.add("out/b", file());
  REQUIRE(in_lib);
  REQUIRE(in_etc);
  CHECK(*tree.find("usr/lib/a") == *in_lib);
  CHECK(*tree.find("etc/b") == *in_etc);
  CHECK(*tree.find("abs/b") == *in_etc);
  CHECK(tree.node(*tree.find("lib")).kind == NodeKind::symlink);
}

TEST_CASE("file tree: symlinks in a circle end") {
  FileTree tree(100);
  REQUIRE(tree.add("a", link_to("b")));
  REQUIRE(tree.add("b", link_to("a")));
  CHECK(tree.add("a/x", file()).error().code == ErrorCode::corrupt);
  REQUIRE(tree.add("self", link_to("self/self/self/self")));
  CHECK(tree.add("self/x", file()).error().code == ErrorCode::corrupt);
}

TEST_CASE("file tree: a later entry replaces an earlier one") {
  FileTree tree(100);
  REQUIRE(tree.add("d/x", file()));
  Node changed;
  changed.permissions = 0700;
  REQUIRE(tree.add("d", changed));
  CHECK(tree.node(*tree.find("d")).permissions == 0700);
  CHECK(tree.find("d/x"));
  REQUIRE(tree.add("d", link_to("elsewhere")));
  CHECK(tree.walk().size() == 2);
  REQUIRE(tree.add("d", Node{}));
  CHECK(tree.node(*tree.find("d")).children.empty());
}

TEST_CASE("file tree: hard links share a node") {
  FileTree tree(100);
  REQUIRE(tree.add("d/a", file()));
  REQUIRE(tree.add_hard_link("b", "d/a"));
  REQUIRE(tree.add_hard_link("b", "b"));
  CHECK(*tree.find("b") == *tree.find("d/a"));
  CHECK(tree.walk().size() == 3);
  CHECK(tree.node(*tree.find("b")).names == 2);
  CHECK_FALSE(tree.add_hard_link("c", "missing"));
  CHECK_FALSE(tree.add_hard_link("c", "d"));
  REQUIRE(tree.add("d", file()));  // takes d/a away
  CHECK(tree.walk().size() == 3);
  CHECK(tree.node(*tree.find("b")).names == 1);
}

TEST_CASE("file tree: bounds") {
  FileTree tree(4);
  CHECK_FALSE(tree.add(std::string(256, 'n'), file()));
  CHECK_FALSE(tree.add(std::string(5000, '/') + "x", file()));
  REQUIRE(tree.add("s", link_to(std::string(300, 'n'))));
  CHECK_FALSE(tree.add("s/x", file()));
  REQUIRE(tree.add("f", file()));
  CHECK(tree.add("f/x", file()).error().code == ErrorCode::corrupt);
  REQUIRE(tree.add("g", file()));
  CHECK(tree.add("h", file()).error().code == ErrorCode::invalid_argument);
  CHECK(tree.add("", file()).error().code == ErrorCode::corrupt);
}
