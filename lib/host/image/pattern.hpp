// File name patterns: COPY's wildcards and .dockerignore.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace microvm::host {

// True when any of * ? [ stands in the text.
[[nodiscard]] bool has_wildcard(std::string_view text);

// `*` and `?` match within one path component, `**` any number of them, `[a-z]` and `[^a-z]` one
// character, a backslash takes the next character as it is.
[[nodiscard]] bool matches_pattern(std::string_view pattern, std::string_view path);

// The rules of a .dockerignore: the last one that matches a path or one of its parents decides.
class IgnoreRules {
 public:
  static IgnoreRules parse(std::string_view text);
  [[nodiscard]] bool ignores(std::string_view path) const;

 private:
  struct Rule {
    std::string pattern;
    bool keep = false;  // began with !
  };
  std::vector<Rule> rules_;
};

}  // namespace microvm::host
