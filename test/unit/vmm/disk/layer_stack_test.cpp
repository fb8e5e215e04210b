#include "vmm/disk/layer_stack.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <functional>

#include "unit/coarse_holes.hpp"
#include "vmm/disk/disk_files.hpp"

using namespace microvm;
using namespace microvm::test;
using vmm::DiskOptions;
using vmm::LayerStack;

namespace {

constexpr size_t kBase = 1u << 20;

struct Fixture {
  Fixture() { files.write_file("base", pattern(kBase, 1)); }

  ErrorCode code_of(std::vector<base::Fd> fds, const DiskOptions& options = {}) {
    const auto stack = LayerStack::open(std::move(fds), options);
    return stack ? ErrorCode::internal : stack.error().code;
  }
  ErrorCode code(const std::vector<std::string>& names, const DiskOptions& options = {}) {
    return code_of(files.open_all(names, options.read_only), options);
  }
  template <class... Fds>
  static std::vector<base::Fd> list(Fds... fds) {
    std::vector<base::Fd> out;
    (out.push_back(std::move(fds)), ...);
    return out;
  }

  DiskFiles files;
};

constexpr ErrorCode kOk = ErrorCode::internal;

}  // namespace

TEST_CASE("layers: an empty top layer is formatted, sparse, and opens again") {
  Fixture t;
  CHECK(t.code({"base", "top"}) == kOk);
  CHECK(t.files.allocated_bytes("top") <= 64 * 1024);
  CHECK(t.code({"base", "top"}) == kOk);
  CHECK(t.code({"base", "top"}, {.read_only = true}) == kOk);
  CHECK(t.code({"base"}, {.read_only = true}) == kOk);
  CHECK(t.code({"base", "top", "next"}) == kOk);
}

TEST_CASE("layers: a file that could not be made a layer is empty again") {
  base::Fd file(::memfd_create("layer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE) == 0);  // it may grow all the same
  const base::Fd seen(::dup(file.get()));
  CHECK_FALSE(vmm::LayerFile::format(
      std::move(file), {.granule_bytes = 4096, .virtual_bytes = kBase, .lower_bytes = kBase}));
  CHECK(::lseek(seen.get(), 0, SEEK_END) == 0);
}

TEST_CASE("layers: a large map is the same where holes are told of in larger blocks") {
  const vmm::LayerHeader header{
      .granule_bytes = 4096, .virtual_bytes = uint64_t{8} << 30, .lower_bytes = kBase};
  const base::Fd file(::memfd_create("layer", MFD_CLOEXEC));
  auto made = vmm::LayerFile::format(base::Fd(::dup(file.get())), header);
  REQUIRE(made);
  made->map.set(5, 9);
  made->map.set(1'000'000, 1'000'010);
  for (const auto& patch : made->map.take_changes()) {
    const auto at = static_cast<off_t>(vmm::kLayerMapOffset + patch.offset);
    REQUIRE(::pwrite(file.get(), patch.bytes.data(), patch.bytes.size(), at) ==
            static_cast<ssize_t>(patch.bytes.size()));
  }
  const auto size = static_cast<uint64_t>(::lseek(file.get(), 0, SEEK_END));
  for (const uint64_t block : {uint64_t{4096}, uint64_t{65536}, uint64_t{1} << 20}) {
    const CoarseHoles coarse(block);
    const auto layer = vmm::LayerFile::open(base::Fd(::dup(file.get())), size, std::nullopt);
    REQUIRE(layer);
    uint64_t used = 0;
    for (uint64_t granule = 0; granule < header.granules(); ++granule) {
      used += layer->map.test(granule) ? 1 : 0;
    }
    CHECK(used == 16);
    CHECK(layer->map.test(7));
    CHECK(layer->map.test(1'000'003));
  }
}

TEST_CASE("layers: read-only means the host enforces it") {
  Fixture t;
  CHECK(t.code({"base", "top"}) == kOk);
  const auto base = [&](int flags) { return t.files.open("base", flags); };
  const auto top = [&](int flags) { return t.files.open("top", flags); };
  constexpr auto refused = ErrorCode::invalid_argument;
  CHECK(t.code_of(t.list(base(O_RDWR), top(O_RDWR))) == refused);
  CHECK(t.code_of(t.list(base(O_RDONLY), top(O_RDONLY))) == refused);
  CHECK(t.code_of(t.list(base(O_RDONLY), top(O_WRONLY))) == refused);
  CHECK(t.code_of(t.list(base(O_RDONLY), top(O_RDWR | O_APPEND))) == refused);
  CHECK(t.code_of(t.list(base(O_RDONLY), top(O_RDWR)), {.read_only = true}) == refused);
  CHECK(t.code_of(t.list(base(O_RDONLY))) == refused);
  CHECK(t.code_of(t.list(base(O_RDONLY), t.files.open("base", O_RDWR))) == refused);
  CHECK(t.code_of({}) == refused);
  CHECK(t.code_of(t.list(base(O_RDONLY), top(O_RDWR), t.files.open("next", O_RDWR))) == refused);
}

TEST_CASE("layers: only regular files of sane sizes") {
  Fixture t;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  base::Fd reader(ends[0]);
  base::Fd writer(ends[1]);
  CHECK(t.code_of(t.list(std::move(reader)), {.read_only = true}) == ErrorCode::invalid_argument);
  CHECK(t.code_of(t.list(base::Fd(::open("/dev/zero", O_RDONLY))), {.read_only = true}) ==
        ErrorCode::invalid_argument);
  CHECK(t.code({"empty"}, {.read_only = true}) == ErrorCode::corrupt);
  t.files.write_file("odd", pattern(1000, 1));
  CHECK(t.code({"odd"}, {.read_only = true}) == ErrorCode::corrupt);
  CHECK(t.code({"base", "empty", "top"}) == ErrorCode::corrupt);
  CHECK(t.code({"base", "top"}, {.granule_bytes = 2048}) == ErrorCode::invalid_argument);
  CHECK(t.code({"base", "top"}, {.granule_bytes = 12288}) == ErrorCode::invalid_argument);
  CHECK(t.code({"base", "top"}, {.format_bytes = 1000}) == ErrorCode::invalid_argument);
}

TEST_CASE("layers: damage is an error, and which kind is said") {
  Fixture t;
  REQUIRE(t.code({"base", "top"}) == kOk);
  const Data good = t.files.read_file("top");
  const auto with = [&](const std::function<void(Data&)>& change) {
    Data bad = good;
    change(bad);
    t.files.write_file("bad", bad);
    return t.code({"base", "bad"});
  };
  CHECK(with([](Data&) {}) == kOk);
  for (size_t byte = 0; byte < 36; ++byte) {
    CHECK(with([&](Data& d) { d[byte] ^= std::byte{16}; }) == ErrorCode::corrupt);
  }
  CHECK(with([](Data& d) { d.resize(d.size() - 1); }) == ErrorCode::corrupt);
  CHECK(with([](Data& d) { d.resize(4096); }) == ErrorCode::corrupt);
  CHECK(with([](Data& d) { d.resize(20); }) == ErrorCode::corrupt);
  CHECK(with([](Data& d) { d[4096 + 3] = std::byte{1}; }) == ErrorCode::corrupt);
  CHECK(with([](Data& d) { d.assign(d.size(), std::byte{0}); }) == ErrorCode::corrupt);

  t.files.write_file("larger", pattern(2 * kBase, 2));
  CHECK(t.code({"larger", "top"}) == ErrorCode::corrupt);  // made for another disk
}

TEST_CASE("layers: a header with valid checksum and hostile numbers") {
  Fixture t;
  const auto with = [&](const vmm::LayerHeader& header) {
    Data data = header.encode();
    data.resize(8u << 20);
    t.files.write_file("hostile", data);
    return t.code({"base", "hostile"});
  };
  CHECK(with({4096, kBase, kBase}) == kOk);
  CHECK(with({4096, 4u << 20, kBase}) == kOk);
  CHECK(with({0, kBase, kBase}) == ErrorCode::corrupt);
  CHECK(with({1u << 31, kBase, kBase}) == ErrorCode::corrupt);
  CHECK(with({4096, 0, kBase}) == ErrorCode::corrupt);
  CHECK(with({4096, UINT64_MAX - 511, kBase}) == ErrorCode::corrupt);
  CHECK(with({4096, uint64_t{4} << 40, kBase}) == ErrorCode::corrupt);  // truncated, then
  CHECK(with({4096, kBase, kBase + 512}) == ErrorCode::corrupt);
}

TEST_CASE("layers: ranges map to the uppermost layer that holds them") {
  Fixture t;
  const auto make = [&](const std::vector<std::string>& names, const DiskOptions& options,
                        std::vector<std::pair<uint64_t, uint64_t>> granules) {
    auto stack = LayerStack::open(t.files.open_all(names), options);
    REQUIRE(stack);
    for (const auto& [first, last] : granules) {
      stack->top()->map.set(first, last);
    }
    for (const auto& patch : stack->top()->map.take_changes()) {
      REQUIRE(::pwrite(stack->top()->fd.get(), patch.bytes.data(), patch.bytes.size(),
                       static_cast<off_t>(4096 + patch.offset)) > 0);
    }
  };
  make({"base", "middle"}, {.granule_bytes = 16384, .format_bytes = 2 * kBase}, {{1, 2}, {70, 70}});
  make({"base", "middle", "top"}, {}, {{5, 5}, {300, 300}});
  auto stack = LayerStack::open(t.files.open_all({"base", "middle", "top"}), {});
  REQUIRE(stack);
  CHECK(stack->size_bytes() == 2 * kBase);

  std::vector<vmm::Segment> all;
  stack->map(512, 2 * kBase - 512, all);
  const uint64_t data = stack->top()->data_offset;
  const int base_fd = all[0].fd;
  const int top_fd = stack->top()->fd.get();
  REQUIRE(all.size() == 10);
  const int middle_fd = all[1].fd;
  const auto is = [&](size_t i, int fd, uint64_t offset, uint64_t length) {
    return all[i].fd == fd && (fd < 0 || all[i].file_offset == offset) && all[i].length == length;
  };
  CHECK(is(0, base_fd, 512, 16384 - 512));
  CHECK(is(1, middle_fd, data + 16384, 4096));
  CHECK(is(2, top_fd, data + 5 * 4096, 4096));
  CHECK(is(3, middle_fd, data + 6 * 4096, 49152 - 6 * 4096));
  CHECK(is(4, base_fd, 49152, kBase - 49152));
  CHECK(is(5, -1, 0, 70 * 16384 - kBase));
  CHECK(is(6, middle_fd, data + 70 * 16384, 16384));
  CHECK(is(7, -1, 0, 300 * 4096 - 71 * 16384));
  CHECK(is(8, top_fd, data + 300 * 4096, 4096));
  CHECK(is(9, -1, 0, 2 * kBase - 301 * 4096));
}
