// Every format on disk, cut at every length, with every bit flipped, in versions that do not exist:
// refused with a typed error, or read to something that is valid.
#include <doctest/doctest.h>

#include <algorithm>

#include "format.hpp"

using namespace microvm;
using microvm::test::Format;

namespace {

// All of a file up to here, then samples: what comes later is content, not structure.
constexpr size_t kWhole = 8 * 1024;
constexpr size_t kSamples = 64;

std::vector<size_t> places(size_t size) {
  std::vector<size_t> all;
  for (size_t at = 0; at < std::min(size, kWhole); ++at) all.push_back(at);
  for (size_t i = 0; i < kSamples && size > kWhole; ++i) {
    all.push_back(kWhole + (size - kWhole) * i / kSamples);
  }
  return all;
}

bool is_typed(const Error& error) {
  return (error.code == ErrorCode::corrupt || error.code == ErrorCode::unsupported) &&
         !error.message.empty();
}

// What was read is whole: written again it reads the same.
bool is_valid(const Format& format, const wire::Bytes& written) {
  const auto again = format.read(written);
  return again && *again == written;
}

bool may_pass(const Format& format, size_t at) {
  return !format.summed || std::ranges::any_of(format.unsummed, [&](const auto& range) {
    return at >= range.begin && at < range.end;
  });
}

void check_cuts(const Format& format) {
  for (const size_t size : places(format.good.size())) {
    const auto cut = format.read(wire::ByteView(format.good).first(size));
    const bool fine = cut ? !format.summed && *cut == format.good : is_typed(cut.error());
    CHECK_MESSAGE(fine, format.name, " cut to ", size, " bytes");
  }
}

void check_flips(const Format& format) {
  wire::Bytes bytes = format.good;
  for (const size_t at : places(bytes.size())) {
    for (int bit = 0; bit < 8; ++bit) {
      const auto mask = static_cast<std::byte>(1 << bit);
      bytes[at] ^= mask;
      const auto read = format.read(bytes);
      const bool fine =
          read ? may_pass(format, at) && is_valid(format, *read) : is_typed(read.error());
      CHECK_MESSAGE(fine, format.name, " with bit ", bit, " of byte ", at, " flipped");
      bytes[at] ^= mask;
    }
  }
}

void check_versions(const Format& format) {
  CHECK(format.read(format.with_version(format.newest)));
  const auto none = format.read(format.with_version(0));
  REQUIRE_FALSE(none);
  CHECK(none.error().code == ErrorCode::corrupt);
  for (const uint32_t version : {format.newest + 1, uint32_t{UINT16_MAX}}) {
    const auto newer = format.read(format.with_version(version));
    REQUIRE_FALSE(newer);
    CHECK(newer.error().code == ErrorCode::unsupported);
    INFO(newer.error().message);
    CHECK(newer.error().message.starts_with(format.named));
    CHECK(newer.error().message.find(" " + std::to_string(version) + " ") != std::string::npos);
    CHECK(newer.error().message.ends_with("made by a newer libmicrovm, this one reads up to " +
                                          std::to_string(format.newest)));
  }
}

std::vector<Format> all_formats() {
  std::vector<Format> all = test::binary_files();
  std::ranges::move(test::section_bodies(), std::back_inserter(all));
  std::ranges::move(test::json_records(), std::back_inserter(all));
  return all;
}

}  // namespace

TEST_CASE("formats: what was written is read") {
  for (const Format& format : all_formats()) {
    const auto read = format.read(format.good);
    REQUIRE_MESSAGE(read, format.name, ": ", (read ? "" : read.error().message));
    CHECK_MESSAGE(is_valid(format, *read), format.name);
  }
}

TEST_CASE("formats: cut anywhere, each is refused") {
  for (const Format& format : all_formats()) check_cuts(format);
}

TEST_CASE("formats: a flipped bit is noticed, or leaves something that is valid") {
  for (const Format& format : all_formats()) check_flips(format);
}

TEST_CASE("formats: an unknown version is refused by name") {
  for (const Format& format : all_formats()) {
    if (format.with_version) check_versions(format);
  }
}

TEST_CASE("formats: what only later versions know is passed over where it may be") {
  size_t rows = 0;
  for (const Format& format : all_formats()) {
    if (format.with_more.empty()) continue;
    const auto read = format.read(format.with_more);
    REQUIRE_MESSAGE(read, format.name, ": ", (read ? "" : read.error().message));
    CHECK_MESSAGE(*read == format.good, format.name);
    ++rows;
  }
  CHECK(rows > 0);
}
