#include "sys/file.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "suite/skip.hpp"

using namespace microvm;
using base::Fd;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

struct Directory {
  Directory() {
    char name[] = "/tmp/microvm-file-test-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
    fd.reset(::open(name, O_DIRECTORY | O_RDONLY | O_CLOEXEC));
  }
  ~Directory() { std::filesystem::remove_all(path); }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      all.push_back(entry.path().filename());
    }
    std::ranges::sort(all);
    return all;
  }
  std::filesystem::path path;
  Fd fd;
};

std::string content(const Directory& directory, const std::string& name) {
  const auto bytes = sys::read_file(directory.fd.get(), name, 1 << 20);
  REQUIRE(bytes);
  return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

}  // namespace

TEST_CASE("file: atomic replacement leaves one name and the new content") {
  const Directory directory;
  REQUIRE(sys::write_file_atomic(directory.fd.get(), "manifest", bytes_of("old")));
  REQUIRE(sys::write_file_atomic(directory.fd.get(), "manifest", bytes_of("new and longer")));
  CHECK(content(directory, "manifest") == "new and longer");
  CHECK(directory.names() == std::vector<std::string>{"manifest"});
}

TEST_CASE("file: a replacement that fails leaves nothing behind") {
  const Directory directory;
  std::filesystem::create_directory(directory.path / "taken");
  const auto failed = sys::write_file_atomic(directory.fd.get(), "taken", bytes_of("x"));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message.find("write taken: ") == 0);
  CHECK(directory.names() == std::vector<std::string>{"taken"});
}

TEST_CASE("file: whole reads and writes, with the end and the limit noticed") {
  const auto file = sys::memory_file("whole");
  REQUIRE(file);
  REQUIRE(sys::pwrite_full(file->get(), bytes_of("0123456789"), 5));
  CHECK(sys::file_size(file->get()) == 15);
  std::array<std::byte, 10> out{};
  REQUIRE(sys::pread_full(file->get(), out, 5));
  CHECK(std::ranges::equal(out, bytes_of("0123456789")));
  CHECK(sys::pread_full(file->get(), out, 6).error().code == ErrorCode::corrupt);
  CHECK(sys::read_all(file->get(), 15)->size() == 15);
  ::lseek(file->get(), 0, SEEK_SET);
  CHECK(sys::read_all(file->get(), 14).error().code == ErrorCode::corrupt);
  CHECK(sys::read_file(AT_FDCWD, "/proc/self/status", 1 << 20)->size() > 100);
  CHECK(sys::read_file(AT_FDCWD, "/nowhere", 1).error().code == ErrorCode::not_found);
}

TEST_CASE("file: only regular files pass the check") {
  const auto file = sys::memory_file("regular");
  CHECK(sys::check_regular_file(file->get(), "disk"));
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK(sys::check_regular_file(null.get(), "disk").error().message ==
        "disk is not a regular file");
}

TEST_CASE("file: data ranges skip holes, and a punched hole is one") {
  constexpr uint64_t kMega = 1u << 20;
  const auto file = sys::memory_file("sparse", 8 * kMega);
  const std::vector<std::byte> block(2 * kMega, std::byte{1});
  REQUIRE(sys::pwrite_full(file->get(), block, kMega));
  REQUIRE(sys::pwrite_full(file->get(), block, 5 * kMega));
  REQUIRE(sys::punch_hole(file->get(), 5 * kMega, kMega));
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  const auto note = [&](uint64_t offset, uint64_t length) -> Result<void> {
    ranges.emplace_back(offset, length);
    return {};
  };
  REQUIRE(sys::for_each_data_range(file->get(), note));
  CHECK(ranges ==
        std::vector<std::pair<uint64_t, uint64_t>>{{kMega, 2 * kMega}, {6 * kMega, kMega}});
  const auto stop = [](uint64_t, uint64_t) -> Result<void> {
    return base::fail(ErrorCode::cancelled, "enough");
  };
  CHECK(sys::for_each_data_range(file->get(), stop).error().code == ErrorCode::cancelled);
}

TEST_CASE("file: an unnamed file gets a name when it is complete") {
  const Directory directory;
  const auto file = sys::open_unnamed(directory.fd.get());
  if (!file) SKIP_CASE("needs a file system with O_TMPFILE");
  REQUIRE(sys::write_full(file->get(), bytes_of("complete")));
  CHECK(directory.names().empty());
  REQUIRE(sys::link_file(file->get(), directory.fd.get(), "named"));
  CHECK(content(directory, "named") == "complete");
  CHECK(sys::link_file(file->get(), directory.fd.get(), "named").error().code ==
        ErrorCode::already_exists);
}

TEST_CASE("file: locks exclude each other and end with their file") {
  const Directory directory;
  auto first = sys::open_at(directory.fd.get(), "lock", O_RDWR | O_CREAT);
  const auto second = sys::open_at(directory.fd.get(), "lock", O_RDWR);
  REQUIRE(sys::try_lock_file(first->get(), sys::LockMode::exclusive));
  CHECK(sys::try_lock_file(second->get(), sys::LockMode::shared).error().code == ErrorCode::busy);
  first->reset();
  CHECK(sys::try_lock_file(second->get(), sys::LockMode::shared));
}

TEST_CASE("file: mappings show the file, and shared ones write it") {
  const auto file = sys::memory_file("mapped", 4096);
  auto shared = sys::Mapping::read_write_shared(file->get(), 0, 4096);
  REQUIRE(shared);
  shared->bytes()[9] = std::byte{42};
  const sys::Mapping moved = std::move(*shared);
  const auto view = sys::Mapping::read_only(file->get(), 0, 4096);
  REQUIRE(view);
  CHECK(view->bytes()[9] == std::byte{42});
  CHECK(sys::Mapping::read_only(file->get(), 0, 0)->bytes().empty());
  CHECK_FALSE(sys::Mapping::read_only(-1, 0, 1));
}
