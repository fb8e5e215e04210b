#include "agent/boot/module_loader.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace microvm::agent;

namespace {

constexpr ModuleIndexes kIndexes{.dep =
                                     "kernel/a.ko.xz: kernel/b.ko.xz kernel/c-d.ko.xz\n"
                                     "kernel/b.ko.xz: kernel/c-d.ko.xz\n"
                                     "kernel/c-d.ko.xz:\n"
                                     "kernel/plain.ko:\n"
                                     "kernel/round.ko.xz:\n"
                                     "kernel/trip.ko.xz:\n",
                                 .alias =
                                     "# Aliases extracted from modules themselves.\n"
                                     "alias fs-odd c_d\n"
                                     "alias pci:v00001AF4d*sv* plain\n"
                                     "alias net-pf-16-proto-4 b\n"
                                     "alias net-pf-16-proto-4 plain\n"
                                     "alias gone nowhere\n",
                                 .symbols = "alias symbol:call_me plain\n",
                                 .softdep =
                                     "softdep b pre: plain nowhere post: c-d\n"
                                     "softdep round pre: trip\n"
                                     "softdep trip post: round\n"};

struct Machine {
  std::vector<std::string> loaded = {};
  std::string refused = {};
  ModuleLoader loader{kIndexes, [this](std::string_view name, std::string_view path) {
                        CHECK(path.find(name) != std::string_view::npos);
                        if (path == refused) return false;
                        loaded.emplace_back(path);
                        return true;
                      }};
};

std::vector<std::string> loaded_for(const std::string& name) {
  Machine machine;
  const bool found = machine.loader.request(name);
  CHECK(found == !machine.loaded.empty());
  return machine.loaded;
}

using Paths = std::vector<std::string>;

}  // namespace

TEST_CASE("module loader: what a module needs is loaded before it") {
  CHECK(loaded_for("c_d") == Paths{"kernel/c-d.ko.xz"});
  CHECK(loaded_for("c-d") == Paths{"kernel/c-d.ko.xz"});
  // b wants plain before and c-d behind it.
  CHECK(loaded_for("a") == Paths{"kernel/c-d.ko.xz", "kernel/plain.ko", "kernel/b.ko.xz",
                                 "kernel/c-d.ko.xz", "kernel/a.ko.xz"});
}

TEST_CASE("module loader: an alias loads all that have it") {
  CHECK(loaded_for("fs-odd") == Paths{"kernel/c-d.ko.xz"});
  CHECK(loaded_for("pci:v00001AF4d00001000sv0000") == Paths{"kernel/plain.ko"});
  CHECK(loaded_for("net-pf-16-proto-4").size() == 5);
  CHECK(loaded_for("symbol:call_me") == Paths{"kernel/plain.ko"});
  for (const char* nobody : {"", "gone", "nowhere", "symbol:plain", "kernel/plain", "plain.ko"})
    CHECK(loaded_for(nobody).empty());
}

TEST_CASE("module loader: a module is not loaded without what it needs") {
  Machine machine;
  machine.refused = "kernel/b.ko.xz";
  CHECK_FALSE(machine.loader.request("a"));
  CHECK(machine.loaded == Paths{"kernel/c-d.ko.xz", "kernel/plain.ko"});
}

TEST_CASE("module loader: modules that want each other end") {
  const auto loaded = loaded_for("round");
  CHECK(loaded.size() >= 2);
  CHECK(loaded.size() < 100);
}

TEST_CASE("module loader: indexes that are damaged, or not there, load nothing") {
  for (const std::string& text :
       {std::string(), std::string(":"), std::string("\n\n: :\n"), std::string("alias"),
        std::string("alias * "), std::string("alias [ x\nsoftdep"), std::string(5000, '*')}) {
    ModuleLoader loader({.dep = text, .alias = text, .symbols = text, .softdep = text},
                        [](std::string_view, std::string_view) { return false; });
    CHECK_FALSE(loader.request("x"));
  }
}

TEST_CASE("module loader: patterns of aliases") {
  const auto matches = [](const char* pattern, const char* alias) {
    return alias_matches(pattern, alias);
  };
  CHECK(matches("char-major-10-200", "char_major-10_200"));
  CHECK(matches("usb:v05ACp*d*", "usb:v05ACp1234d0001"));
  CHECK(matches("acpi*:PNP0[5-7]0?:*", "acpi:PNP0601:"));
  CHECK(matches("a*b*c", "a--b-b--c"));
  CHECK(matches("*", ""));
  CHECK(matches("[a-]x", "-x"));
  CHECK_FALSE(matches("[a-c]x", "dx"));
  CHECK_FALSE(matches("[a-c]x", "_x"));
  CHECK_FALSE(matches("[ab", "a"));
  CHECK_FALSE(matches("a*b", "a"));
  CHECK_FALSE(matches("a?", "a"));
  CHECK_FALSE(matches("", "a"));
  // In time that does not explode.
  CHECK_FALSE(alias_matches("*a*a*a*a*a*a*a*a*b", std::string(2000, 'a')));
}
