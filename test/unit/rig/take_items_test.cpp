// The queue that the rigs empty side by side: each item is run once, whoever takes it, and one that
// a rig has died in is run again.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "unit/host/temp_dir.hpp"
#include "unit/rig/paths.hpp"

namespace fs = std::filesystem;
using microvm::test::TempDir;

namespace {

constexpr int kItems = 20;

class Queue {
 public:
  Queue() {
    for (const char* part : {"waiting", "taken", "done"}) fs::create_directory(dir_ / part);
  }
  void add(const fs::path& where, const std::string& item, const std::string& command) const {
    fs::create_directories(dir_ / where.string());
    std::ofstream(dir_ / where.string() / item) << command << '\n';
  }
  // What all takers have printed, the last of them ended.
  [[nodiscard]] std::string taken_by(int takers) const {
    std::string line = "(";
    for (int taker = 1; taker <= takers; ++taker) {
      line += TAKE_ITEMS " " + dir_.path().string() + " " + std::to_string(taker) + " & ";
    }
    line += "wait) >" + (dir_ / "printed").string() + " 2>&1";
    REQUIRE(std::system(line.c_str()) == 0);
    return text("printed");
  }
  [[nodiscard]] std::string text(const std::string& name) const {
    std::ifstream file(dir_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  [[nodiscard]] fs::path path(const std::string& name) const { return dir_ / name; }
  [[nodiscard]] bool is_empty() const {
    for (const auto& entry : fs::recursive_directory_iterator(dir_ / "taken")) {
      if (!entry.is_directory()) return false;
    }
    return fs::is_empty(dir_ / "waiting");
  }

 private:
  TempDir dir_;
};

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++found;
  return found;
}

}  // namespace

TEST_SUITE("rig") {
  TEST_CASE("two takers run each item once, and leave its output and status") {
    const Queue queue;
    for (int i = 0; i < kItems; ++i) {
      const std::string name = std::to_string(100 + i) + ".guest.file" + std::to_string(i);
      queue.add("waiting", name, "echo ran " + std::to_string(i) + " once");
    }
    queue.add("waiting", "200.kvm.all", "ls " + queue.path("missing").string());
    const std::string printed = queue.taken_by(2);
    INFO(printed);
    CHECK(queue.is_empty());
    for (int i = 0; i < kItems; ++i) {
      const std::string ran = "ran " + std::to_string(i) + " once\n";
      CHECK(count(printed, "guest: " + ran) == 1);
      const std::string done =
          "done/" + std::to_string(100 + i) + ".guest.file" + std::to_string(i);
      CHECK(queue.text(done + ".output") == ran);
      CHECK(queue.text(done + ".status") == "0\n");
      CHECK(count(printed, "guest: -- file" + std::to_string(i) + ": status 0 in ") == 1);
    }
    CHECK(count(printed, "kvm: ls: ") == 1);
    CHECK(queue.text("done/200.kvm.all.status") == "2\n");
  }

  TEST_CASE("a taker begins with the item that it died in, and leaves others theirs") {
    const Queue queue;
    queue.add("waiting", "001.guest.first", "echo first");
    queue.add("taken/1", "002.guest.died", "echo again");
    queue.add("taken/2", "003.guest.other", "echo other");
    const std::string printed = queue.taken_by(1);
    INFO(printed);
    CHECK(printed.find("guest: again\n") < printed.find("guest: first\n"));
    CHECK(printed.find("guest: other") == std::string::npos);
    CHECK(fs::exists(queue.path("taken/2/003.guest.other")));
  }
}
