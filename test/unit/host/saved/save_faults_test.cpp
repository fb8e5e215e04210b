// Every call by which a suspend writes fails once: the saved state is the old or the new one,
// whole, and nothing else is left.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "host/saved/saved_pages.hpp"
#include "host/store/files.hpp"
#include "sys/file.hpp"
#include "unit/host/temp_dir.hpp"

namespace {

// Counts the calls of all threads while it is armed; the chosen one fails.
std::atomic<bool> armed{false};
std::atomic<int> calls{0};
std::atomic<int> failing{0};
std::atomic<int> failure{0};

bool fails_now() {
  if (!armed || ++calls != failing) return false;
  errno = failure;
  return true;
}

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// These stand before the C library's, for the whole test program.
extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
  return fails_now() ? -1 : real(fd, bytes, size);
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
  return fails_now() ? -1 : real(fd, bytes, size, offset);
}
int fsync(int fd) {
  static const auto real = next<int (*)(int)>("fsync");
  return fails_now() ? -1 : real(fd);
}
int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) noexcept {
  static const auto real = next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
  return fails_now() ? -1 : real(from_dir, from, to_dir, to, flags);
}
int ftruncate64(int fd, off64_t size) noexcept {
  static const auto real = next<int (*)(int, off64_t)>("ftruncate64");
  return fails_now() ? -1 : real(fd, size);
}
}

using namespace microvm;
using namespace microvm::host;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMemoryBytes = 4 << 20;

base::Fd pages_of(char content) {
  auto overlay = sys::memory_file("pages", kMemoryBytes);
  REQUIRE(overlay);
  const std::vector<std::byte> page(8192, std::byte(content));
  for (const uint64_t at : {uint64_t{0}, uint64_t{1} << 20, kMemoryBytes - 8192}) {
    REQUIRE(sys::pwrite_full(overlay->get(), page, at));
  }
  return std::move(*overlay);
}

Captured captured_with(char content) {
  auto state = sys::memory_file("state");
  REQUIRE(state);
  const std::vector<std::byte> bytes(1000, std::byte(content));
  REQUIRE(sys::pwrite_full(state->get(), bytes, 0));
  Captured captured;
  captured.pages = pages_of(content);
  captured.state = std::move(*state);
  captured.layers = {"disk-1.layer"};
  return captured;
}

Result<void> save(const fs::path& dir, const Captured& captured) {
  const auto saved = save_captured(captured, dir, dir, nullptr, Limits(CallLimits{}));
  if (!saved) return base::fail(saved.error());
  return write_saved(dir, *saved);
}

// The letter it was saved with; memory and state agree.
char content_of(const fs::path& dir) {
  const auto saved = read_saved(dir);
  REQUIRE(saved);
  REQUIRE(saved->has_value());
  const auto overlay = expand_pages(dir, **saved, kMemoryBytes);
  REQUIRE(overlay);
  std::vector<std::byte> page(8192);
  for (const uint64_t at : {uint64_t{0}, uint64_t{1} << 20, kMemoryBytes - 8192}) {
    REQUIRE(sys::pread_full(overlay->get(), page, at));
    CHECK(page.front() == page.back());
  }
  const auto state = read_file(dir / (*saved)->state, 4096);
  REQUIRE(state);
  CHECK(state->size() == 1000);
  CHECK(state->front() == page.front());
  return static_cast<char>(page.front());
}

// True: that call was reached, and failed.
bool save_with_failure(const fs::path& dir, const Captured& captured, int number, int error,
                       Result<void>& result) {
  calls = 0;
  failing = number;
  failure = error;
  armed = true;
  result = save(dir, captured);
  armed = false;
  return calls >= number;
}

}  // namespace

TEST_CASE("save faults: each write, sync and rename of a suspend fails once") {
  for (const int error : {ENOSPC, EIO}) {
    INFO("errno ", error);
    const Captured before = captured_with('a');
    const Captured after = captured_with('b');
    int number = 1;
    for (bool reached = true; reached; ++number) {
      INFO("call ", number);
      const test::TempDir dir;
      std::ofstream(dir.path() / "disk-1.layer") << "layer";
      REQUIRE(save(dir.path(), before));
      Result<void> result;
      reached = save_with_failure(dir.path(), after, number, error, result);
      CHECK(result.has_value() == !reached);
      if (reached && error == ENOSPC) CHECK(result.error().code == ErrorCode::out_of_disk);
      const char content = content_of(dir.path());
      // The sync after the rename may fail when the new state is already in place.
      CHECK((content == 'b' || (reached && content == 'a')));
      if (content == 'a') {
        const auto saved = read_saved(dir.path());
        keep_numbered_files(dir.path(), (*saved)->files());
      }
      for (const auto& entry : fs::directory_iterator(dir.path())) {
        CHECK(entry.path().filename().string().find('~') == std::string::npos);
      }
    }
    CHECK(number > 8);
  }
}
