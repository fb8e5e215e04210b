#include "vmm/memory/guest_memory.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "../memory_file.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

}  // namespace

TEST_CASE("guest memory: sizes that are no multiple of 2 MiB, zero or absurd are refused") {
  for (const uint64_t bytes : {uint64_t{0}, kMiB, 3 * kMiB, uint64_t{4097}, UINT64_MAX}) {
    const auto memory = GuestMemory::reserve(bytes);
    REQUIRE_FALSE(memory);
    CHECK(memory.error().code == ErrorCode::invalid_argument);
  }
}

TEST_CASE("guest memory: up to 3 GiB it is one region, beyond the rest starts at 4 GiB") {
  const auto small = GuestMemory::reserve(3 * kGiB);
  REQUIRE(small);
  CHECK(small->regions().size() == 1);

  const auto large = GuestMemory::reserve(4 * kGiB);
  REQUIRE(large);
  REQUIRE(large->regions().size() == 2);
  const MemoryRegion& high = large->regions()[1];
  CHECK(high.guest_address == 4 * kGiB);
  CHECK(high.size == kGiB);
  CHECK(high.file_offset == 3 * kGiB);
  CHECK(high.host == large->regions()[0].host + 3 * kGiB);
}

TEST_CASE("guest memory: the addresses up to the limit are kept free, and nothing stands there") {
  const auto memory = GuestMemory::reserve(4 * kMiB, 16 * kMiB);
  REQUIRE(memory);
  CHECK(memory->size() == 4 * kMiB);
  CHECK(memory->translate(4 * kMiB, 1) == nullptr);
  std::byte* behind = memory->regions()[0].host + 4 * kMiB;
  for (const uint64_t offset : {uint64_t{0}, 12 * kMiB - 4096}) {
    void* got = ::mmap(behind + offset, 4096, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(got == MAP_FAILED);
    if (got != MAP_FAILED) ::munmap(got, 4096);
  }
  CHECK_FALSE(GuestMemory::reserve(4 * kMiB, 5 * kMiB));
  CHECK_FALSE(GuestMemory::reserve(4 * kMiB, uint64_t{1} << 41));
}

TEST_CASE("guest memory: host and guest addresses agree modulo 2 MiB") {
  const auto memory = GuestMemory::reserve(4 * kMiB);
  REQUIRE(memory);
  CHECK(reinterpret_cast<uintptr_t>(memory->regions()[0].host) % (2 * kMiB) == 0);
}

TEST_CASE("guest memory: translate gives a pointer only for ranges inside one region") {
  const auto memory = GuestMemory::reserve(4 * kGiB);
  REQUIRE(memory);
  std::byte* low = memory->regions()[0].host;
  CHECK(memory->translate(0, 1) == low);
  CHECK(memory->translate(4096, 3 * kGiB - 4096) == low + 4096);
  CHECK(memory->translate(3 * kGiB - 1, 1) != nullptr);
  CHECK(memory->translate(3 * kGiB - 1, 2) == nullptr);
  CHECK(memory->translate(3 * kGiB, 1) == nullptr);
  CHECK(memory->translate(4 * kGiB, kGiB) == low + 3 * kGiB);
  CHECK(memory->translate(5 * kGiB - 8, 9) == nullptr);
  CHECK(memory->translate(0, 5 * kGiB) == nullptr);
  CHECK(memory->translate(UINT64_MAX, 2) == nullptr);
  CHECK(memory->translate(8, UINT64_MAX) == nullptr);
}

TEST_CASE("guest memory: what is written is read back, out of range it fails") {
  auto memory = GuestMemory::reserve(2 * kMiB);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  CHECK(memory->write(0x1000, uint32_t{42}));
  uint32_t value = 0;
  CHECK(memory->read(0x1000, value));
  CHECK(value == 42);
  CHECK_FALSE(memory->write(2 * kMiB - 3, uint32_t{1}));
  CHECK_FALSE(memory->read(2 * kMiB, value));
  CHECK(value == 42);
}

TEST_CASE("guest memory: a snapshot file is mapped private") {
  base::Fd file(::memfd_create("memory", MFD_CLOEXEC));
  REQUIRE(::ftruncate(file.get(), 2 * kMiB) == 0);
  const uint32_t in_file = 7;
  REQUIRE(::pwrite(file.get(), &in_file, sizeof in_file, 0x2000) == sizeof in_file);

  auto memory = GuestMemory::reserve(2 * kMiB);
  REQUIRE(memory);
  std::byte* before = memory->regions()[0].host;
  REQUIRE(memory->back_with_file(file.get()));
  CHECK(memory->regions()[0].host == before);

  uint32_t value = 0;
  CHECK(memory->read(0x2000, value));
  CHECK(value == 7);
  CHECK(memory->write(0x2000, uint32_t{8}));
  REQUIRE(::pread(file.get(), &value, sizeof value, 0x2000) == sizeof value);
  CHECK(value == 7);
}

TEST_CASE("guest memory: a snapshot file of another size or kind is refused") {
  auto memory = GuestMemory::reserve(2 * kMiB);
  REQUIRE(memory);
  const base::Fd file = test::file_with(wire::as_bytes("short"));
  const auto wrong_size = memory->back_with_file(file.get());
  REQUIRE_FALSE(wrong_size);
  CHECK(wrong_size.error().code == ErrorCode::corrupt);

  int ends[2] = {-1, -1};
  REQUIRE(::pipe(ends) == 0);
  const base::Fd read_end(ends[0]);
  const base::Fd write_end(ends[1]);
  const auto wrong_kind = memory->back_with_file(read_end.get());
  REQUIRE_FALSE(wrong_kind);
  CHECK(wrong_kind.error().code == ErrorCode::corrupt);
}

TEST_CASE("guest memory: moving keeps the addresses") {
  auto memory = GuestMemory::reserve(2 * kMiB);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  CHECK(memory->write(0, uint8_t{9}));
  GuestMemory moved = std::move(*memory);
  uint8_t value = 0;
  CHECK(moved.read(0, value));
  CHECK(value == 9);
  CHECK(moved.size() == 2 * kMiB);
}
