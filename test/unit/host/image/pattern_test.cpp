#include "host/image/pattern.hpp"

#include <doctest/doctest.h>

using namespace microvm::host;

TEST_CASE("pattern: stars, questions and classes stay within a component") {
  const struct {
    const char* pattern;
    const char* path;
    bool match;
  } rows[] = {
      {"*.py", "a.py", true},  {"*.py", "d/a.py", false},  {"a?c", "abc", true},
      {"a?c", "ac", false},    {"[a-c]x", "bx", true},     {"[^a-c]x", "bx", false},
      {"[]x", "]", false},     {"a*b*c", "a1b2c", true},   {"a*b*c", "a1b2", false},
      {"**/x", "x", true},     {"**/x", "a/b/x", true},    {"a/**", "a/b/c", true},
      {"a/**/z", "a/z", true}, {"a/**/z", "a/b/y", false}, {"\\*", "*", true},
      {"\\*", "a", false},     {"d/*", "d/e", true},       {"", "", true},
  };
  for (const auto& row : rows) {
    CAPTURE(row.pattern);
    CAPTURE(row.path);
    CHECK(matches_pattern(row.pattern, row.path) == row.match);
  }
}

TEST_CASE("pattern: a hostile pattern takes no exponential time") {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "a*";
  CHECK_FALSE(matches_pattern(pattern + "b", std::string(2000, 'a')));
  std::string deep;
  std::string path;
  for (int i = 0; i < 200; ++i) {
    deep += "**/";
    path += "a/";
  }
  CHECK_FALSE(matches_pattern(deep + "b", path + "c"));
}

TEST_CASE("ignore rules: the last matching rule decides, parents count") {
  const auto rules = IgnoreRules::parse("# comment\n*.log\nbuild/\n!keep.log\n/secret\n**/tmp\n");
  CHECK(rules.ignores("a.log"));
  CHECK_FALSE(rules.ignores("keep.log"));
  CHECK_FALSE(rules.ignores("d/a.log"));
  CHECK(rules.ignores("build/x/y"));
  CHECK(rules.ignores("secret"));
  CHECK(rules.ignores("a/b/tmp/c"));
  CHECK_FALSE(rules.ignores("src/main.py"));
}

TEST_CASE("ignore rules: blanks around a rule and after its ! do not count, nor do line ends") {
  const auto rules = IgnoreRules::parse(
      "  secret\r\n\t*.key \t\r\n ! kept.key\r\n!\tb.key\n \r\n  #name\n# comment\n/last");
  CHECK(rules.ignores("secret"));
  CHECK(rules.ignores("a.key"));
  CHECK_FALSE(rules.ignores("kept.key"));
  CHECK_FALSE(rules.ignores("b.key"));
  CHECK(rules.ignores("#name"));
  CHECK_FALSE(rules.ignores("# comment"));
  CHECK(rules.ignores("last"));
}
