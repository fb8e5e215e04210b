// Small files with the structure of kernels, modules and packages.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>
#include <elf.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "host/image/bytes.hpp"

namespace microvm::test {

using host::Bytes;
using host::ByteSpan;

inline Bytes to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// An executable with one loadable segment.
inline Bytes fake_vmlinux(uint16_t machine = EM_X86_64, const std::string& release = "9.9.9-test") {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = machine;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  std::string body = "Linux version %s, Linux version " + release + " (builder) #1";
  for (int i = 0; i < 20000; ++i) body += static_cast<char>('a' + i % 23 + i / 4096);
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_offset = sizeof header + sizeof segment;
  segment.p_filesz = segment.p_memsz = body.size();
  std::string file(reinterpret_cast<const char*>(&header), sizeof header);
  file.append(reinterpret_cast<const char*>(&segment), sizeof segment);
  return to_bytes(file + body);
}

// A boot header of protocol 2.15 in front of the payload.
inline Bytes fake_bzimage(ByteSpan payload) {
  constexpr size_t kSetupSectors = 3;
  constexpr uint32_t kPayloadOffset = 100;
  const size_t begin = (kSetupSectors + 1) * 512 + kPayloadOffset;
  Bytes image(begin + payload.size() + 64);  // code follows the payload
  const auto put = [&](size_t at, uint32_t value, size_t size) {
    std::memcpy(image.data() + at, &value, size);
  };
  put(0x1f1, kSetupSectors, 1);
  put(0x1fe, 0xaa55, 2);
  put(0x202, 0x53726448, 4);
  put(0x206, 0x020f, 2);
  put(0x248, kPayloadOffset, 4);
  put(0x24c, static_cast<uint32_t>(payload.size()), 4);
  std::copy(payload.begin(), payload.end(), image.begin() + static_cast<ptrdiff_t>(begin));
  return image;
}

// A relocatable file with .modinfo and, for each exported symbol, its entry in the symbol table.
inline Bytes fake_module(const std::string& name, const std::string& depends,
                         const std::vector<std::string>& fields = {},
                         const std::vector<std::string>& symbols = {}) {
  using namespace std::string_literals;
  const std::string names = "\0.shstrtab\0.modinfo\0.symtab\0.strtab\0"s;
  std::string info = "license=GPL\0depends="s + depends + "\0name="s + name + "\0"s;
  for (const std::string& field : fields) info += field + "\0"s;
  std::string strings = "\0"s;
  std::string table;
  for (const std::string& symbol : symbols) {
    Elf64_Sym entry{};
    entry.st_name = static_cast<uint32_t>(strings.size());
    table.append(reinterpret_cast<const char*>(&entry), sizeof entry);
    strings += "__ksymtab_" + symbol + "\0"s;
  }
  const std::pair<uint32_t, std::string> bodies[] = {
      {0, ""}, {1, names}, {11, info}, {20, table}, {28, strings}};
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_type = ET_REL;
  header.e_machine = EM_X86_64;
  header.e_shoff = sizeof header;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = std::size(bodies);
  header.e_shstrndx = 1;
  std::string file(reinterpret_cast<const char*>(&header), sizeof header);
  std::string content;
  for (const auto& [section_name, body] : bodies) {
    Elf64_Shdr section{};
    section.sh_name = section_name;
    section.sh_offset = sizeof header + std::size(bodies) * sizeof section + content.size();
    section.sh_size = body.size();
    file.append(reinterpret_cast<const char*>(&section), sizeof section);
    content += body;
  }
  return to_bytes(file + content);
}

using Files = std::vector<std::pair<std::string, Bytes>>;

// Writes an archive of regular files: a tar.xz, or the ar that a .deb is.
enum class Format { tar_xz, ar };
inline Bytes make_archive(Format format, const Files& files) {
  archive* writer = archive_write_new();
  if (format == Format::ar) {
    archive_write_set_format_ar_bsd(writer);
  } else {
    archive_write_set_format_ustar(writer);
    archive_write_add_filter_xz(writer);
  }
  std::string out(4u << 20, '\0');
  size_t used = 0;
  REQUIRE(archive_write_open_memory(writer, out.data(), out.size(), &used) == ARCHIVE_OK);
  for (const auto& [name, content] : files) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_mode(entry, AE_IFREG | 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
    REQUIRE(archive_write_header(writer, entry) == ARCHIVE_OK);
    REQUIRE(archive_write_data(writer, content.data(), content.size()) ==
            static_cast<la_ssize_t>(content.size()));
    archive_entry_free(entry);
  }
  REQUIRE(archive_write_close(writer) == ARCHIVE_OK);
  archive_write_free(writer);
  return to_bytes(std::string_view(out).substr(0, used));
}

inline Bytes make_deb(const Files& data, const std::string& architecture = "amd64") {
  const auto control = to_bytes("Package: linux-image\nArchitecture: " + architecture + "\n");
  return make_archive(Format::ar,
                      {{"debian-binary", to_bytes("2.0\n")},
                       {"control.tar.xz", make_archive(Format::tar_xz, {{"./control", control}})},
                       {"data.tar.xz", make_archive(Format::tar_xz, data)}});
}

}  // namespace microvm::test
