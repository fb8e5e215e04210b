#include "vmm/arch/x86_64/elf_kernel.hpp"

#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>
#include <functional>

#include "../memory_file.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::x86_64;

namespace {

constexpr uint64_t kMiB = 1 << 20;

// A kernel of one segment with 16 bytes of code and some bss.
struct Image {
  Elf64_Ehdr header{};
  Elf64_Phdr segment{};
  std::array<std::byte, 16> code{};

  Image() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_entry = kMiB + 4;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof segment;
    header.e_phnum = 1;
    segment.p_type = PT_LOAD;
    segment.p_offset = sizeof header + sizeof segment;
    segment.p_paddr = kMiB;
    segment.p_filesz = code.size();
    segment.p_memsz = 4096;
    code.fill(std::byte{0x90});
  }

  [[nodiscard]] wire::Bytes bytes() const {
    wire::ByteWriter out;
    out.put_bytes(std::as_bytes(std::span(&header, 1)));
    out.put_bytes(std::as_bytes(std::span(&segment, 1)));
    out.put_bytes(code);
    return out.take();
  }
};

GuestMemory make_memory() {
  auto memory = GuestMemory::reserve(4 * kMiB);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  return std::move(*memory);
}

Result<LoadedKernel> load(wire::ByteView bytes) {
  GuestMemory memory = make_memory();
  return load_kernel(test::file_with(bytes).get(), memory);
}

void check_refused(const std::function<void(Image&)>& change, const char* part_of_message) {
  Image image;
  change(image);
  const auto kernel = load(image.bytes());
  REQUIRE_FALSE(kernel);
  CHECK(kernel.error().code == ErrorCode::invalid_argument);
  CHECK_MESSAGE(kernel.error().message.find(part_of_message) != std::string::npos,
                kernel.error().message);
}

}  // namespace

TEST_CASE("elf kernel: segments come to their physical addresses") {
  GuestMemory memory = make_memory();
  const auto kernel = load_kernel(test::file_with(Image().bytes()).get(), memory);
  REQUIRE(kernel);
  CHECK(kernel->entry == kMiB + 4);
  CHECK(kernel->end == kMiB + 4096);
  uint8_t byte = 0;
  CHECK(memory.read(kMiB + 15, byte));
  CHECK(byte == 0x90);
  CHECK(memory.read(kMiB + 16, byte));
  CHECK(byte == 0);
}

TEST_CASE("elf kernel: what is no x86-64 ELF is refused by name") {
  check_refused([](Image& i) { i.header.e_ident[1] = 'X'; }, "not an ELF file");
  check_refused([](Image& i) { i.header.e_ident[EI_CLASS] = ELFCLASS32; }, "not a 64-bit");
  check_refused([](Image& i) { i.header.e_ident[EI_DATA] = ELFDATA2MSB; }, "little-endian");
  check_refused([](Image& i) { i.header.e_machine = EM_AARCH64; }, "another architecture");
  check_refused([](Image& i) { i.header.e_type = ET_REL; }, "not an executable");
}

TEST_CASE("elf kernel: impossible program headers are refused") {
  check_refused([](Image& i) { i.header.e_phnum = 0; }, "program headers");
  check_refused([](Image& i) { i.header.e_phnum = 0xffff; }, "program headers");
  check_refused([](Image& i) { i.header.e_phentsize = 32; }, "program headers");
  check_refused([](Image& i) { i.header.e_phoff = UINT64_MAX - 8; }, "truncated");
  check_refused([](Image& i) { i.segment.p_offset = UINT64_MAX; }, "truncated");
  check_refused([](Image& i) { i.segment.p_filesz = 4096; }, "truncated");
  check_refused([](Image& i) { i.segment.p_memsz = 1; }, "more bytes than memory");
  check_refused([](Image& i) { i.segment.p_paddr = 0x1000; }, "first MiB");
  check_refused([](Image& i) { i.segment.p_paddr = UINT64_MAX - 8; }, "does not fit");
  check_refused([](Image& i) { i.segment.p_memsz = UINT64_MAX; }, "does not fit");
  check_refused([](Image& i) { i.header.e_entry = 0xdead0000; }, "entry address");
}

TEST_CASE("elf kernel: cut anywhere, it is refused and nothing else") {
  const wire::Bytes whole = Image().bytes();
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto kernel = load(wire::ByteView(whole).first(length));
    REQUIRE_FALSE(kernel);
    CHECK(kernel.error().code == ErrorCode::invalid_argument);
  }
}
