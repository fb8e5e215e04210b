#include "host/image/module_index.hpp"

#include <doctest/doctest.h>

#include <optional>

#include "host/image/module_trie.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

IndexedModule module(const std::string& name, std::vector<std::string> depends,
                     std::vector<std::string> aliases = {}) {
  return {
      name, "kernel/" + name + ".ko.xz", {name, std::move(depends), std::move(aliases), {}}, {}};
}

// As kmod goes through it, for keys without patterns.
class TrieReader {
 public:
  explicit TrieReader(const std::string& file) : file_(file) {}

  std::optional<std::vector<std::string>> find(const std::string& key) {
    CHECK(number(0) == 0xb007f457);
    CHECK(number(4) == 0x00020001);
    return find_below(number(8), key);
  }

 private:
  uint32_t number(size_t at) const {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(file_.at(at + i));
    return value;
  }
  std::string text(size_t at) const { return file_.c_str() + at; }

  std::optional<std::vector<std::string>> find_below(uint32_t node, const std::string& key) {
    size_t at = node & 0x0fffffff;
    std::string prefix;
    if ((node & 0x80000000) != 0) {
      prefix = text(at);
      at += prefix.size() + 1;
    }
    if (key.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
    const std::string rest = key.substr(prefix.size());
    if ((node & 0x20000000) != 0) {
      const auto first = static_cast<uint8_t>(file_.at(at));
      const auto last = static_cast<uint8_t>(file_.at(at + 1));
      const size_t table = at + 2;
      at = table + 4 * (last - first + 1u);
      if (!rest.empty()) {
        const auto next = static_cast<uint8_t>(rest[0]);
        if (next < first || next > last) return std::nullopt;
        const uint32_t child = number(table + 4 * (next - first + 0u));
        return child == 0 ? std::nullopt : find_below(child, rest.substr(1));
      }
    }
    if (!rest.empty() || (node & 0x40000000) == 0) return std::nullopt;
    std::vector<std::string> values;
    const uint32_t count = number(at);
    at += 4;
    for (uint32_t i = 0; i < count; ++i) {
      values.push_back(text(at + 4));
      at += 4 + values.back().size() + 1;
    }
    return values;
  }

  const std::string& file_;
};

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("module index: what a module needs stands behind it, what loads first last") {
  const auto files = index_modules(
      {module("top", {"middle", "low"}), module("middle", {"low", "no_such"}), module("low", {})},
      {});
  CHECK(files.at("modules.dep") ==
        "kernel/top.ko.xz: kernel/middle.ko.xz kernel/low.ko.xz\n"
        "kernel/middle.ko.xz: kernel/low.ko.xz\n"
        "kernel/low.ko.xz:\n");
  CHECK(TrieReader(files.at("modules.dep.bin")).find("middle") ==
        Texts{"kernel/middle.ko.xz: kernel/low.ko.xz"});
}

TEST_CASE("module index: circles end") {
  const auto files =
      index_modules({module("a", {"b"}), module("b", {"a"}), module("c", {"c"})}, {});
  CHECK(files.at("modules.dep") ==
        "kernel/a.ko.xz: kernel/b.ko.xz\nkernel/b.ko.xz: kernel/a.ko.xz\nkernel/c.ko.xz:\n");
}

TEST_CASE("module index: aliases, soft dependencies, symbols, devices") {
  auto tun =
      module("tun", {}, {"devname:net/tun", "char-major-10-200", "rtnl-link-tun", "two words"});
  tun.symbols = {"tun_get_socket"};
  tun.info.softdeps = {"pre: a post: b", "line\nbreak"};
  const auto other = module("other", {}, {"rtnl-link-tun"});
  const auto files = index_modules(
      {tun, other}, {.list = "kernel/fs/fuse/fuse.ko\n",
                     .modinfo = std::string("fuse.license=GPL\0fuse.alias=fs-fuse\0broken", 43)});
  const auto has = [&](const char* file, const std::string& line) {
    return files.at(file).find(line + "\n") != std::string::npos;
  };
  CHECK(has("modules.alias", "alias char-major-10-200 tun"));
  CHECK_FALSE(has("modules.alias", "alias two words tun"));
  CHECK(has("modules.softdep", "softdep tun pre: a post: b"));
  CHECK(files.at("modules.softdep").find("break") == std::string::npos);
  CHECK(has("modules.symbols", "alias symbol:tun_get_socket tun"));
  CHECK(has("modules.devname", "tun net/tun c10:200"));
  const auto find = [&](const char* file, const std::string& key) {
    return TrieReader(files.at(file)).find(key);
  };
  CHECK(find("modules.alias.bin", "rtnl_link_tun") == Texts{"tun", "other"});
  CHECK(find("modules.alias.bin", "rtnl_link") == std::nullopt);
  CHECK(find("modules.symbols.bin", "symbol:tun_get_socket") == Texts{"tun"});
  CHECK(find("modules.builtin.bin", "fuse") == Texts{""});
  CHECK(find("modules.builtin.alias.bin", "fs_fuse") == Texts{"fuse"});
}

TEST_CASE("module trie: keys that begin with one another are all found") {
  const Texts keys = {"a", "ab", "abc", "abd", "b", "net-pf-16", "net-pf-16-proto-4", "x[a-c]*"};
  ModuleTrie trie;
  for (const auto& key : keys) trie.add(key, "is " + key, 1);
  for (const auto& key : {std::string(), std::string(5000, 'l'), std::string("\xff")})
    trie.add(key, "no key", 1);
  const std::string file = trie.write();
  for (const auto& key : keys) CHECK(TrieReader(file).find(key) == Texts{"is " + key});
  for (const char* none : {"c", "abcd", "net-pf-1", "x"})
    CHECK_FALSE(TrieReader(file).find(none).has_value());
  CHECK_FALSE(TrieReader(ModuleTrie().write()).find("a").has_value());
}
