#include "host/store/digest.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "host/store/files.hpp"
#include "host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

const CallCheck kNoLimit({}, "test");

base::Fd file_of(const std::filesystem::path& path, uint64_t size) {
  base::Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
  return fd;
}

void put(int fd, std::string_view text, uint64_t offset) {
  REQUIRE(pwrite_all(fd, std::as_bytes(std::span(text)), offset, "test"));
}

}  // namespace

TEST_CASE("digest: sha256 of known bytes") {
  Sha256 hash;
  hash.update("ab");
  hash.update("c");
  CHECK(hash.finish_hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(is_sha256_hex(sha256_hex({})));
  CHECK_FALSE(is_sha256_hex(std::string(64, 'A')));
  CHECK_FALSE(is_sha256_hex("abc"));
}

TEST_CASE("digest: holes and written zeros are the same content") {
  test::TempDir dir;
  const auto sparse = file_of(dir / "sparse", 1 << 20);
  const auto full = file_of(dir / "full", 1 << 20);
  put(full.get(), std::string(1 << 20, '\0'), 0);
  for (const int fd : {sparse.get(), full.get()}) put(fd, "hello", 300'000);

  const auto a = digest_sparse_file(sparse.get(), "sparse", kNoLimit);
  const auto b = digest_sparse_file(full.get(), "full", kNoLimit);
  REQUIRE(a);
  REQUIRE(b);
  CHECK(a->sha256 == b->sha256);
  CHECK(a->data_bytes == 4096);
  CHECK(b->data_bytes == 4096);
  CHECK(a->size_bytes == 1 << 20);
}

TEST_CASE("digest: where the bytes lie, their value and the size all count") {
  test::TempDir dir;
  const auto digest_of = [&](const char* name, uint64_t size, uint64_t offset, const char* text) {
    const auto fd = file_of(dir / name, size);
    put(fd.get(), text, offset);
    return digest_sparse_file(fd.get(), name, kNoLimit)->sha256;
  };
  const auto first = digest_of("a", 65536, 0, "x");
  CHECK(digest_of("b", 65536, 4096, "x") != first);
  CHECK(digest_of("c", 65536, 0, "y") != first);
  CHECK(digest_of("d", 65537, 0, "x") != first);
  CHECK(digest_of("e", 65536, 0, "x") == first);
}

TEST_CASE("digest: a cancelled call ends") {
  test::TempDir dir;
  const auto fd = file_of(dir / "file", 65536);
  put(fd.get(), "x", 0);
  CancelToken token;
  token.cancel();
  const auto digest = digest_sparse_file(fd.get(), "file", CallCheck({&token, {}}, "digest"));
  REQUIRE_FALSE(digest);
  CHECK(digest.error().code == ErrorCode::cancelled);
}
