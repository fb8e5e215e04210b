#include "state/memory_file.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>

#include "state/memory_image.hpp"

using namespace microvm;
using namespace microvm::state::test;

TEST_CASE("memory file: zero pages become holes and the content is the same") {
  const auto memory = mixed_memory(100);
  const auto file = empty_file();
  REQUIRE(state::make_sparse(file.get(), memory.size()));
  const auto written = state::write_sparse(file.get(), 0, memory);
  REQUIRE(written);
  CHECK(*written == 40 * state::kPageBytes);
  CHECK(allocated_bytes(file.get()) == *written);
  CHECK(content_of(file.get()) == memory);
}

TEST_CASE("memory file: only an empty regular file is taken") {
  const auto file = empty_file();
  REQUIRE(state::make_sparse(file.get(), state::kPageBytes));
  CHECK(state::make_sparse(file.get(), state::kPageBytes).error().code ==
        ErrorCode::invalid_argument);
  const base::Fd device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK_FALSE(state::make_sparse(device.get(), state::kPageBytes));
}

TEST_CASE("memory file: a full disk is out_of_disk") {
  const base::Fd full(::open("/dev/full", O_RDWR | O_CLOEXEC));
  const wire::Bytes page(state::kPageBytes, std::byte{1});
  CHECK(state::write_sparse(full.get(), 0, page).error().code == ErrorCode::out_of_disk);
}
