#include "vmm/arch/x86_64/elf_kernel.hpp"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/checked.hpp"

namespace microvm::vmm::x86_64 {
namespace {

constexpr uint16_t kMaxProgramHeaders = 64;  // vmlinux has 5
// Nothing of the kernel may lie in the first MiB: boot parameters and ACPI tables stand there.
constexpr uint64_t kLowestLoadAddress = 1 << 20;

base::Failure bad(const std::string& what) {
  return base::fail(ErrorCode::invalid_argument,
                    "kernel: " + what + ": give an x86-64 ELF vmlinux");
}

// EOF inside the range is a truncated file, not an I/O error.
Result<void> read_at(int fd, void* to, uint64_t bytes, uint64_t offset) {
  auto* out = static_cast<std::byte*>(to);
  while (bytes > 0) {
    const ssize_t n = ::pread(fd, out, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::fail_errno("read kernel");
    if (n == 0) return bad("the file is truncated");
    out += n;
    bytes -= static_cast<uint64_t>(n);
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Result<uint64_t> file_size(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno("stat kernel");
  if (!S_ISREG(info.st_mode)) return bad("not a regular file");
  return static_cast<uint64_t>(info.st_size);
}

Result<void> check_header(const Elf64_Ehdr& header) {
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return bad("not an ELF file");
  if (header.e_ident[EI_CLASS] != ELFCLASS64) return bad("not a 64-bit ELF file");
  if (header.e_ident[EI_DATA] != ELFDATA2LSB) return bad("not a little-endian ELF file");
  if (header.e_machine != EM_X86_64) {
    return bad("made for another architecture (ELF machine " + std::to_string(header.e_machine) +
               ")");
  }
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return bad("not an executable ELF file");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
      header.e_phnum > kMaxProgramHeaders) {
    return bad("unusable program headers");
  }
  return {};
}

Result<std::vector<Elf64_Phdr>> read_program_headers(int fd, const Elf64_Ehdr& header,
                                                     uint64_t size) {
  std::vector<Elf64_Phdr> headers(header.e_phnum);
  const uint64_t bytes = headers.size() * sizeof(Elf64_Phdr);
  if (!base::range_fits(header.e_phoff, bytes, size)) return bad("the file is truncated");
  if (auto ok = read_at(fd, headers.data(), bytes, header.e_phoff); !ok) {
    return base::fail(ok.error());
  }
  return headers;
}

// Guest memory is zero at boot, so the part of a segment behind its file bytes (bss) needs nothing.
Result<void> load_segment(int fd, const Elf64_Phdr& segment, uint64_t size, GuestMemory& memory) {
  if (segment.p_filesz > segment.p_memsz) return bad("a segment has more bytes than memory");
  if (!base::range_fits(segment.p_offset, segment.p_filesz, size)) {
    return bad("the file is truncated");
  }
  if (segment.p_paddr < kLowestLoadAddress) return bad("a segment lies in the first MiB");
  std::byte* to = memory.translate(segment.p_paddr, segment.p_memsz);
  if (to == nullptr) {
    return base::fail(ErrorCode::invalid_argument,
                      "kernel: a segment does not fit into guest memory: give the vm more memory");
  }
  return read_at(fd, to, segment.p_filesz, segment.p_offset);
}

}  // namespace

Result<LoadedKernel> load_kernel(int fd, GuestMemory& memory) {
  const auto size = file_size(fd);
  if (!size) return base::fail(size.error());
  Elf64_Ehdr header{};
  if (*size < sizeof header) return bad("the file is truncated");
  if (auto ok = read_at(fd, &header, sizeof header, 0); !ok) return base::fail(ok.error());
  if (auto ok = check_header(header); !ok) return base::fail(ok.error());
  const auto segments = read_program_headers(fd, header, *size);
  if (!segments) return base::fail(segments.error());

  LoadedKernel kernel{.entry = header.e_entry, .end = 0};
  bool entry_loaded = false;
  for (const Elf64_Phdr& segment : *segments) {
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    if (auto ok = load_segment(fd, segment, *size, memory); !ok) return base::fail(ok.error());
    kernel.end = std::max(kernel.end, segment.p_paddr + segment.p_memsz);
    entry_loaded |= kernel.entry - segment.p_paddr < segment.p_memsz;
  }
  if (!entry_loaded) return bad("the entry address is in no segment");
  return kernel;
}

}  // namespace microvm::vmm::x86_64
