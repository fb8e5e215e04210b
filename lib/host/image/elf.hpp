// What is looked at in ELF files: whether a kernel is one for x86-64, and a module's .modinfo.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "host/image/bytes.hpp"

namespace microvm::host {

[[nodiscard]] bool is_elf(ByteSpan bytes) noexcept;

// A 64-bit little-endian x86-64 executable whose loadable segments lie inside the file.
// Errors: unsupported (another architecture, named), corrupt (cut short).
[[nodiscard]] Result<void> check_vmlinux(ByteSpan elf, const std::string& name);

// The release in "Linux version 6.12.1-cloud-amd64 (…": empty when there is none.
[[nodiscard]] std::string find_release(ByteSpan vmlinux);

struct ModuleInfo {
  std::string name;                  // with '_' for '-'
  std::vector<std::string> depends;  // likewise
  // What depmod reads as well: patterns of what it is loaded for, and "pre: a b post: c".
  std::vector<std::string> aliases;
  std::vector<std::string> softdeps;
};
// Error corrupt.
[[nodiscard]] Result<ModuleInfo> read_module_info(ByteSpan elf, const std::string& file);

// The symbols that a module gives to others; none when it has no symbol table.
[[nodiscard]] std::vector<std::string> exported_symbols(ByteSpan elf);

// Module names are the same with '-' and with '_'.
[[nodiscard]] std::string module_name(std::string_view name);

}  // namespace microvm::host
