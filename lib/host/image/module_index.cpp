#include "host/image/module_index.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <set>
#include <string_view>

#include "host/image/module_trie.hpp"

namespace microvm::host {

namespace {

template <class Visit>
void each_part(std::string_view text, char separator, Visit visit) {
  while (!text.empty()) {
    const size_t end = text.find(separator);
    if (end != 0) visit(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

// Patterns are compared with '_' for '-' everywhere but in brackets.
std::string normal_alias(std::string_view alias) {
  std::string normal(alias);
  bool in_brackets = false;
  for (char& c : normal) {
    if (c == '[') in_brackets = true;
    if (c == ']') in_brackets = false;
    if (c == '-' && !in_brackets) c = '_';
  }
  return normal;
}

// One line, one word: nothing a module says of itself gets further than its own entry.
bool is_word(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_words(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= ' ' && c < 0x7f; });
}

std::string builtin_name(std::string_view path) {
  std::string_view file = path.substr(path.rfind('/') + 1);
  return module_name(file.substr(0, file.find(".ko")));
}

class Dependencies {
 public:
  explicit Dependencies(const std::vector<IndexedModule>& modules) : modules_(modules) {
    for (size_t i = 0; i < modules.size(); ++i) by_name_.emplace(modules[i].name, i);
  }

  // Indexes of all that `module` needs, what needs nothing first.
  [[nodiscard]] std::vector<size_t> of(size_t module) const {
    std::vector<size_t> order;
    std::set<size_t> visited = {module};
    append(module, visited, order);
    return order;
  }

 private:
  // As deep as a chain of modules that need each other is long.
  void append(size_t module, std::set<size_t>& visited, std::vector<size_t>& order) const {
    constexpr size_t kMaxNeeded = 256;
    for (const std::string& name : modules_[module].info.depends) {
      const auto found = by_name_.find(name);
      if (found == by_name_.end() || visited.size() > kMaxNeeded) continue;
      if (!visited.insert(found->second).second) continue;
      append(found->second, visited, order);
      order.push_back(found->second);
    }
  }

  const std::vector<IndexedModule>& modules_;
  std::map<std::string, size_t, std::less<>> by_name_;
};

// "char-major-10-200" and "devname:net/tun" make the line "tun net/tun c10:200".
std::optional<std::string> device_line(const IndexedModule& module) {
  static constexpr std::string_view kName = "devname:";
  std::string name;
  std::string number;
  for (const std::string& alias : module.info.aliases) {
    unsigned major = 0;
    unsigned minor = 0;
    if (alias.starts_with(kName)) name = alias.substr(kName.size());
    if (std::sscanf(alias.c_str(), "char-major-%u-%u", &major, &minor) == 2)
      number = "c" + std::to_string(major) + ":" + std::to_string(minor);
    if (std::sscanf(alias.c_str(), "block-major-%u-%u", &major, &minor) == 2)
      number = "b" + std::to_string(major) + ":" + std::to_string(minor);
  }
  if (!is_word(name) || number.empty()) return std::nullopt;
  return module.name + " " + name + " " + number + "\n";
}

class Index {
 public:
  explicit Index(const std::vector<IndexedModule>& modules) : dependencies_(modules) {
    for (size_t i = 0; i < modules.size(); ++i) {
      add_dependencies(modules, i);
      add_names(modules[i], static_cast<uint32_t>(i));
    }
  }

  void add_builtin(const BuiltinModules& builtin) {
    each_part(builtin.list, '\n', [this](std::string_view path) {
      if (is_word(path)) builtin_.add(builtin_name(path), "", 0);
    });
    each_part(builtin.modinfo, '\0', [this](std::string_view field) {
      static constexpr std::string_view kAlias = ".alias=";
      const size_t at = field.find(kAlias);
      if (at == std::string_view::npos || !is_words(field)) return;
      builtin_aliases_.add(normal_alias(field.substr(at + kAlias.size())),
                           module_name(field.substr(0, at)), 0);
    });
  }

  [[nodiscard]] std::map<std::string, std::string> files() {
    return {{"modules.dep", std::move(dep_text_)},
            {"modules.alias", std::move(alias_text_)},
            {"modules.softdep", std::move(softdep_text_)},
            {"modules.symbols", std::move(symbols_text_)},
            {"modules.devname", std::move(devname_text_)},
            {"modules.dep.bin", dep_.write()},
            {"modules.alias.bin", aliases_.write()},
            {"modules.symbols.bin", symbols_.write()},
            {"modules.builtin.bin", builtin_.write()},
            {"modules.builtin.alias.bin", builtin_aliases_.write()}};
  }

 private:
  // Read from right to left: the last one is loaded first.
  void add_dependencies(const std::vector<IndexedModule>& modules, size_t module) {
    std::string line = modules[module].path + ":";
    auto needed = dependencies_.of(module);
    std::ranges::reverse(needed);
    for (const size_t other : needed) line += " " + modules[other].path;
    dep_text_ += line + "\n";
    dep_.add(modules[module].name, line, static_cast<uint32_t>(module));
  }

  void add_names(const IndexedModule& module, uint32_t priority) {
    for (const std::string& alias : module.info.aliases) {
      if (!is_word(alias)) continue;
      alias_text_ += "alias " + alias + " " + module.name + "\n";
      aliases_.add(normal_alias(alias), module.name, priority);
    }
    for (const std::string& symbol : module.symbols) {
      if (!is_word(symbol)) continue;
      symbols_text_ += "alias symbol:" + symbol + " " + module.name + "\n";
      symbols_.add("symbol:" + symbol, module.name, priority);
    }
    for (const std::string& softdep : module.info.softdeps)
      if (is_words(softdep)) softdep_text_ += "softdep " + module.name + " " + softdep + "\n";
    if (const auto line = device_line(module)) devname_text_ += *line;
  }

  Dependencies dependencies_;
  std::string dep_text_;
  std::string alias_text_ = "# Aliases extracted from modules themselves.\n";
  std::string softdep_text_ = "# Soft dependencies extracted from modules themselves.\n";
  std::string symbols_text_ = "# Aliases for symbols, used by symbol_request().\n";
  std::string devname_text_ = "# Device nodes to trigger on-demand module loading.\n";
  ModuleTrie dep_;
  ModuleTrie aliases_;
  ModuleTrie symbols_;
  ModuleTrie builtin_;
  ModuleTrie builtin_aliases_;
};

}  // namespace

std::map<std::string, std::string> index_modules(const std::vector<IndexedModule>& modules,
                                                 const BuiltinModules& builtin) {
  Index index(modules);
  index.add_builtin(builtin);
  return index.files();
}

}  // namespace microvm::host
