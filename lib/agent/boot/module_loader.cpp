#include "agent/boot/module_loader.hpp"

namespace microvm::agent {
namespace {

// Soft dependencies name others that may have such; circles end here.
constexpr int kMaxDepth = 6;

std::string_view take_until(std::string_view& text, char end) {
  const size_t at = text.find(end);
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return part;
}

std::string_view take_line(std::string_view& text) {
  return take_until(text, '\n');
}

// Of words with one space between them.
std::string_view take_word(std::string_view& line) {
  return take_until(line, ' ');
}

char normal(char c) {
  return c == '-' ? '_' : c;
}

bool same_module(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (normal(a[i]) != normal(b[i])) return false;
  return true;
}

// "kernel/drivers/block/loop.ko.xz" is "loop".
std::string_view name_of(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  return path.substr(0, path.find(".ko"));
}

// The line of modules.dep, "PATH: PATH…"; empty when there is none of that name.
std::string_view find_module(std::string_view dep, std::string_view name) {
  while (!dep.empty()) {
    const std::string_view line = take_line(dep);
    if (same_module(name_of(line.substr(0, line.find(':'))), name)) return line;
  }
  return {};
}

// Of "[a-c_]…": whether it has `c`; `set` goes on behind the bracket. Without an end it has none.
bool take_set(std::string_view& set, char c) {
  const size_t end = set.find(']');
  std::string_view body = set.substr(1, end == std::string_view::npos ? 0 : end - 1);
  set.remove_prefix(end == std::string_view::npos ? set.size() : end + 1);
  bool found = false;
  while (!body.empty()) {
    const bool range = body.size() > 2 && body[1] == '-';
    const char last = range ? body[2] : body[0];
    found = found || (c >= body[0] && c <= last);
    body.remove_prefix(range ? 3 : 1);
  }
  return found;
}

// One character of a pattern that is no '*' against one of a text.
bool take_one(std::string_view& pattern, char c) {
  if (pattern.front() == '[') return take_set(pattern, c);
  const char wanted = pattern.front();
  pattern.remove_prefix(1);
  return wanted == '?' || normal(wanted) == normal(c);
}

}  // namespace

// The last '*' takes one character more when what follows it does not match: never longer than the
// product of both lengths.
bool alias_matches(std::string_view pattern, std::string_view alias) {
  std::string_view after_star;
  std::string_view from;
  bool has_star = false;
  while (!alias.empty() || !pattern.empty()) {
    if (!pattern.empty() && pattern.front() == '*') {
      pattern.remove_prefix(1);
      has_star = true;
      after_star = pattern;
      from = alias;
    } else if (!pattern.empty() && !alias.empty() && take_one(pattern, alias.front())) {
      alias.remove_prefix(1);
    } else if (has_star && !from.empty()) {
      from.remove_prefix(1);
      pattern = after_star;
      alias = from;
    } else {
      return false;
    }
  }
  return true;
}

bool ModuleLoader::request(std::string_view name) {
  static constexpr std::string_view kSymbol = "symbol:";
  if (name.empty() || depth_ >= kMaxDepth) return false;
  ++depth_;
  const bool is_symbol = name.substr(0, kSymbol.size()) == kSymbol;
  const std::string_view line = is_symbol ? std::string_view() : find_module(indexes_.dep, name);
  const bool loaded = line.empty()
                          ? load_aliases(is_symbol ? indexes_.symbols : indexes_.alias, name)
                          : load_line(line);
  --depth_;
  return loaded;
}

// What it needs stands behind it, what is to be loaded first at the end.
bool ModuleLoader::load_line(std::string_view line) {
  const size_t colon = line.find(':');
  std::string_view needed = line.substr(colon + 1);
  bool complete = true;
  while (complete && !needed.empty()) {
    const size_t space = needed.rfind(' ');
    const std::string_view path =
        space == std::string_view::npos ? needed : needed.substr(space + 1);
    needed = needed.substr(0, space == std::string_view::npos ? 0 : space);
    if (!path.empty()) complete = insert(path);
  }
  return complete && insert(line.substr(0, colon));
}

// "alias PATTERN MODULE".
bool ModuleLoader::load_aliases(std::string_view index, std::string_view name) {
  bool loaded = false;
  while (!index.empty()) {
    std::string_view line = take_line(index);
    if (take_word(line) != "alias" || !alias_matches(take_word(line), name)) continue;
    const std::string_view module = find_module(indexes_.dep, line);
    if (!module.empty() && load_line(module)) loaded = true;
  }
  return loaded;
}

// "softdep MODULE pre: A B post: C". None of them has to be there.
void ModuleLoader::load_softdeps(std::string_view module, bool before) {
  std::string_view index = indexes_.softdep;
  while (!index.empty()) {
    std::string_view line = take_line(index);
    if (take_word(line) != "softdep" || !same_module(take_word(line), module)) continue;
    bool wanted = false;
    while (!line.empty()) {
      const std::string_view word = take_word(line);
      if (word == "pre:" || word == "post:") {
        wanted = (word == "pre:") == before;
      } else if (wanted) {
        request(word);
      }
    }
  }
}

bool ModuleLoader::insert(std::string_view path) {
  const std::string_view name = name_of(path);
  load_softdeps(name, true);
  const bool there = insert_(name, path);
  if (there) load_softdeps(name, false);
  return there;
}

}  // namespace microvm::agent
