#include "host/image/expand.hpp"

#include <doctest/doctest.h>

#include <map>

using namespace microvm;
using namespace microvm::host;

namespace {

Result<std::string> expand(std::string_view word) {
  static const std::map<std::string, std::string> kValues = {{"A", "one"}, {"EMPTY", ""}};
  return expand_word(word, '\\', [](const std::string& name) -> std::optional<std::string> {
    const auto found = kValues.find(name);
    if (found == kValues.end()) return std::nullopt;
    return found->second;
  });
}

}  // namespace

TEST_CASE("expand: every form of a variable") {
  const std::pair<const char*, const char*> rows[] = {
      {"$A", "one"},         {"${A}x", "onex"},        {"$Ax", ""},
      {"${B:-two}", "two"},  {"${EMPTY:-two}", "two"}, {"${EMPTY-two}", ""},
      {"${A:+set}", "set"},  {"${EMPTY:+set}", ""},    {"${EMPTY+set}", "set"},
      {"${B:-${A}}", "one"}, {"${B:-a}b}", "ab}"},     {"$", "$"},
      {"a$1", "a$1"},        {"\\$A", "$A"},           {"'$A'", "$A"},
      {"\"$A b\"", "one b"}, {"\"\\$A\"", "$A"},       {"\"a\\b\"", "a\\b"},
  };
  for (const auto& [word, expected] : rows) {
    CAPTURE(word);
    const auto out = expand(word);
    REQUIRE(out);
    CHECK(*out == expected);
  }
}

TEST_CASE("expand: what is malformed is an error, not a guess") {
  for (const char* word :
       {"${A", "${}", "${A:}", "${A!x}", "\"open", "'open", "${B:?must be set}"}) {
    CAPTURE(word);
    const auto out = expand(word);
    REQUIRE_FALSE(out);
    CHECK(out.error().code == ErrorCode::syntax);
  }
  CHECK(expand("${B:?must be set}").error().message == "B: must be set");
}

TEST_CASE("expand: nesting and size are bounded") {
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "${B:-";
  deep += std::string(100, '}');
  CHECK_FALSE(expand(deep));
  CHECK_FALSE(expand(std::string(300 * 1024, 'x')));
}
