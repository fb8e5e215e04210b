#include "host/image/elf.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <string_view>

#include "base/checked.hpp"
#include "host/store/names.hpp"

namespace microvm::host {

using base::fail;
using base::range_fits;

namespace {

// A copy of the structure at `offset`, or nothing when it does not lie inside.
template <class T>
std::optional<T> read_struct(ByteSpan bytes, uint64_t offset) {
  if (!range_fits(offset, sizeof(T), bytes.size())) return std::nullopt;
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string machine_name(unsigned machine) {
  switch (machine) {
    case EM_AARCH64:
      return "arm64";
    case EM_ARM:
      return "arm";
    case EM_386:
      return "i386";
    case EM_RISCV:
      return "riscv64";
    case EM_PPC64:
      return "ppc64";
    case EM_S390:
      return "s390x";
    default:
      return "machine " + std::to_string(machine);
  }
}

std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::optional<ByteSpan> section_body(ByteSpan elf, const Elf64_Shdr& section) {
  if (!range_fits(section.sh_offset, section.sh_size, elf.size())) return std::nullopt;
  return elf.subspan(section.sh_offset, section.sh_size);
}

// The name at an offset of the string table: up to the first zero byte.
std::string_view name_at(ByteSpan names, uint32_t offset) {
  if (offset >= names.size()) return {};
  const auto rest = as_text(names).substr(offset);
  return rest.substr(0, rest.find('\0'));
}

std::optional<ByteSpan> find_section(ByteSpan elf, std::string_view wanted) {
  const auto header = read_struct<Elf64_Ehdr>(elf, 0);
  if (!header || header->e_shentsize != sizeof(Elf64_Shdr)) return std::nullopt;
  const auto section_at = [&](unsigned index) {
    const auto offset =
        base::checked_add<uint64_t>(header->e_shoff, uint64_t{index} * sizeof(Elf64_Shdr));
    return offset ? read_struct<Elf64_Shdr>(elf, *offset) : std::nullopt;
  };
  const auto names_section = section_at(header->e_shstrndx);
  const auto names = names_section ? section_body(elf, *names_section) : std::nullopt;
  if (!names) return std::nullopt;
  for (unsigned i = 0; i < header->e_shnum; ++i) {
    const auto section = section_at(i);
    if (!section) return std::nullopt;
    if (name_at(*names, section->sh_name) == wanted) return section_body(elf, *section);
  }
  return std::nullopt;
}

template <class Visit>
void split(std::string_view text, char separator, Visit visit) {
  while (!text.empty()) {
    const size_t end = text.find(separator);
    visit(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

bool is_elf(ByteSpan bytes) noexcept {
  return bytes.size() > SELFMAG && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0;
}

Result<void> check_vmlinux(ByteSpan elf, const std::string& name) {
  const auto header = read_struct<Elf64_Ehdr>(elf, 0);
  if (!is_elf(elf) || !header) return fail(ErrorCode::corrupt, name + ": not an ELF kernel");
  if (header->e_machine != EM_X86_64 || header->e_ident[EI_CLASS] != ELFCLASS64)
    return fail(ErrorCode::unsupported, name + ": a kernel for " + machine_name(header->e_machine) +
                                            ", this library runs x86-64 (amd64) ones");
  if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
    return fail(ErrorCode::corrupt, name + ": an ELF file, but not an executable kernel");
  if (header->e_phentsize != sizeof(Elf64_Phdr))
    return fail(ErrorCode::corrupt, name + ": bad program headers");
  bool loads = false;
  for (unsigned i = 0; i < header->e_phnum; ++i) {
    const auto offset =
        base::checked_add<uint64_t>(header->e_phoff, uint64_t{i} * sizeof(Elf64_Phdr));
    const auto segment = offset ? read_struct<Elf64_Phdr>(elf, *offset) : std::nullopt;
    if (!segment || (segment->p_type == PT_LOAD &&
                     !range_fits(segment->p_offset, segment->p_filesz, elf.size())))
      return fail(ErrorCode::corrupt, name + ": cut short");
    loads = loads || segment->p_type == PT_LOAD;
  }
  if (!loads) return fail(ErrorCode::corrupt, name + ": has nothing to load");
  return {};
}

std::string find_release(ByteSpan vmlinux) {
  static constexpr std::string_view kBanner = "Linux version ";
  const auto text = as_text(vmlinux);
  const std::boyer_moore_horspool_searcher searcher(kBanner.begin(), kBanner.end());
  for (auto from = text.begin();;) {
    const auto found = std::search(from, text.end(), searcher);
    if (found == text.end()) return {};
    from = found + kBanner.size();
    const std::string_view rest(from, std::min(text.end(), from + 128));
    const auto release = rest.substr(0, rest.find(' '));
    if (!release.empty() && release[0] >= '0' && release[0] <= '9' && is_plain_file_name(release))
      return std::string(release);
  }
}

Result<ModuleInfo> read_module_info(ByteSpan elf, const std::string& file) {
  if (!is_elf(elf)) return fail(ErrorCode::corrupt, file + ": not an ELF module");
  const auto section = find_section(elf, ".modinfo");
  if (!section) return fail(ErrorCode::corrupt, file + ": has no .modinfo");
  ModuleInfo info;
  split(as_text(*section), '\0', [&](std::string_view field) {
    static constexpr std::string_view kName = "name=";
    static constexpr std::string_view kDepends = "depends=";
    static constexpr std::string_view kAlias = "alias=";
    static constexpr std::string_view kSoftdep = "softdep=";
    if (field.starts_with(kName)) info.name = module_name(field.substr(kName.size()));
    if (field.starts_with(kAlias)) info.aliases.emplace_back(field.substr(kAlias.size()));
    if (field.starts_with(kSoftdep)) info.softdeps.emplace_back(field.substr(kSoftdep.size()));
    if (field.starts_with(kDepends))
      split(field.substr(kDepends.size()), ',', [&](std::string_view dependency) {
        if (!dependency.empty()) info.depends.push_back(module_name(dependency));
      });
  });
  return info;
}

std::vector<std::string> exported_symbols(ByteSpan elf) {
  static constexpr std::string_view kPrefix = "__ksymtab_";
  const auto symbols = find_section(elf, ".symtab");
  const auto names = find_section(elf, ".strtab");
  if (!symbols || !names) return {};
  std::vector<std::string> exported;
  for (size_t at = 0; at + sizeof(Elf64_Sym) <= symbols->size(); at += sizeof(Elf64_Sym)) {
    const auto name = name_at(*names, read_struct<Elf64_Sym>(*symbols, at)->st_name);
    if (name.starts_with(kPrefix)) exported.emplace_back(name.substr(kPrefix.size()));
  }
  return exported;
}

std::string module_name(std::string_view name) {
  std::string normal(name);
  std::ranges::replace(normal, '-', '_');
  return normal;
}

}  // namespace microvm::host
