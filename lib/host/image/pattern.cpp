#include "host/image/pattern.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>

namespace microvm::host {
namespace {

// Matches one character against the class at the front of `pattern` and removes the class.
// Empty when the class is not closed.
std::optional<bool> match_class(std::string_view& pattern, char c) {
  size_t at = 1;
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool hit = false;
  for (bool first = true; at < pattern.size() && (first || pattern[at] != ']'); first = false) {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
    const char low = pattern[at++];
    char high = low;
    if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
      high = pattern[at + 1];
      at += 2;
    }
    hit = hit || (low <= c && c <= high);
  }
  if (at >= pattern.size()) return std::nullopt;
  pattern.remove_prefix(at + 1);
  return hit != negated;
}

// Matches one pattern element that stands for exactly one character.
bool match_one(std::string_view& pattern, char c) {
  if (pattern.front() == '[') return match_class(pattern, c).value_or(false);
  if (pattern.front() == '\\' && pattern.size() > 1) pattern.remove_prefix(1);
  const bool hit = pattern.front() == c;
  pattern.remove_prefix(1);
  return hit;
}

// One component against one component pattern: the usual star matching with one backtrack point,
// so the time is at most the product of the lengths.
bool match_component(std::string_view pattern, std::string_view text) {
  std::optional<std::string_view> after_star;
  std::string_view star_text;
  while (!text.empty()) {
    std::string_view tried = pattern;
    if (!pattern.empty() && pattern.front() == '*') {
      after_star = pattern = pattern.substr(1);
      star_text = text;
    } else if (!pattern.empty() && (pattern.front() == '?' || match_one(tried, text.front()))) {
      pattern = pattern.front() == '?' ? pattern.substr(1) : tried;
      text.remove_prefix(1);
    } else if (after_star) {
      star_text.remove_prefix(1);
      pattern = *after_star;
      text = star_text;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*') == std::string_view::npos;
}

using Components = std::vector<std::string_view>;

Components split_path(std::string_view path) {
  Components out;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    if (slash > 0) out.push_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return out;
}

// Row by row over the pattern's components: reachable[j] says the first j path components match.
bool match_components(const Components& pattern, const Components& path) {
  std::vector<bool> reachable(path.size() + 1, false);
  reachable[0] = true;
  for (const std::string_view part : pattern) {
    std::vector<bool> next(path.size() + 1, false);
    for (size_t j = 0; j <= path.size(); ++j) {
      if (part == "**") {
        next[j] = reachable[j] || (j > 0 && next[j - 1]);
      } else if (j > 0) {
        next[j] = reachable[j - 1] && match_component(part, path[j - 1]);
      }
    }
    reachable = std::move(next);
  }
  return reachable[path.size()];
}

std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\v\f\r";
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

}  // namespace

bool has_wildcard(std::string_view text) {
  return text.find_first_of("*?[") != std::string_view::npos;
}

bool matches_pattern(std::string_view pattern, std::string_view path) {
  return match_components(split_path(pattern), split_path(path));
}

IgnoreRules IgnoreRules::parse(std::string_view text) {
  IgnoreRules out;
  while (!text.empty()) {
    const size_t newline = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, newline);
    text.remove_prefix(std::min(newline + 1, text.size()));
    if (line.starts_with('#')) continue;  // only there: "  #x" is a file's name, as docker has it
    line = without_blanks(line);
    if (line.empty()) continue;
    Rule rule;
    rule.keep = line.front() == '!';
    if (rule.keep) line = without_blanks(line.substr(1));
    rule.pattern = std::filesystem::path(line).lexically_normal().relative_path().string();
    if (!rule.pattern.empty()) out.rules_.push_back(std::move(rule));
  }
  return out;
}

bool IgnoreRules::ignores(std::string_view path) const {
  const Components parts = split_path(path);
  bool ignored = false;
  for (const Rule& rule : rules_) {
    const Components pattern = split_path(rule.pattern);
    Components prefix;
    bool hit = false;
    for (const std::string_view part : parts) {
      prefix.push_back(part);
      hit = hit || match_components(pattern, prefix);
    }
    if (hit) ignored = !rule.keep;
  }
  return ignored;
}

}  // namespace microvm::host
