// What depmod writes into /lib/modules/RELEASE: which module something is loaded for, and what it
// needs. The text files are read by our agent, by busybox and by depmod itself, the binary ones
// (module_trie.hpp) by kmod's modprobe.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "host/image/bytes.hpp"
#include "host/image/elf.hpp"

namespace microvm::host {

struct IndexedModule {
  std::string name;  // with '_' for '-'
  std::string path;  // below /lib/modules/RELEASE: "kernel/drivers/block/loop.ko.xz"
  ModuleInfo info;
  std::vector<std::string> symbols;
};

// The package's own lists, as they are there.
struct BuiltinModules {
  std::string list;     // modules.builtin: a path in each line
  std::string modinfo;  // modules.builtin.modinfo: "loop.alias=…", each with a zero behind it
};

// File name → content. `modules` stand in the order in which one is preferred to another
// (modules.order). What names of each other the modules tell is not trusted: circles end, names
// that nobody has are passed over.
[[nodiscard]] std::map<std::string, std::string> index_modules(
    const std::vector<IndexedModule>& modules, const BuiltinModules& builtin);

}  // namespace microvm::host
