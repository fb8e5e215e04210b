// What modprobe does for the kernel: finds the modules that a name or an alias means in the indexes
// of /lib/modules/RELEASE, and loads them after those that they need.
#pragma once

#include <functional>
#include <string_view>

namespace microvm::agent {

// The indexes as depmod writes them. What one does not have is not found.
struct ModuleIndexes {
  std::string_view dep;
  std::string_view alias;
  std::string_view symbols;
  std::string_view softdep;
};

class ModuleLoader {
 public:
  // Gets a module's name and its file below /lib/modules/RELEASE; true when it is there now, or was
  // before.
  using Insert = std::function<bool(std::string_view name, std::string_view path)>;

  ModuleLoader(const ModuleIndexes& indexes, Insert insert)
      : indexes_(indexes), insert_(std::move(insert)) {}

  // "loop", "fs-btrfs", "char-major-10-200", "symbol:nft_register_expr" …; as modprobe, an alias
  // loads each module that has it. True when one of them is there.
  bool request(std::string_view name);

 private:
  bool load_line(std::string_view line);
  bool load_aliases(std::string_view index, std::string_view name);
  void load_softdeps(std::string_view module, bool before);
  bool insert(std::string_view path);

  ModuleIndexes indexes_;
  Insert insert_;
  int depth_ = 0;
};

// Whether an alias matches a pattern of modules.alias: '*', '?', "[a-z]"; '-' is the same as '_'.
[[nodiscard]] bool alias_matches(std::string_view pattern, std::string_view alias);

}  // namespace microvm::agent
