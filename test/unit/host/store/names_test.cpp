#include "host/store/names.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::host;

TEST_CASE("names: image names") {
  for (const char* good : {"a", "counter", "team/app-1", "0.9_x"}) CHECK(is_image_name(good));
  for (const char* bad : {"", "/a", ".a", "-a", "A", "a:b", "a b", "a%b", "ä"})
    CHECK_FALSE(is_image_name(bad));
  CHECK(is_image_name(std::string(128, 'a')));
  CHECK_FALSE(is_image_name(std::string(129, 'a')));
}

TEST_CASE("names: base names have a tag or none") {
  for (const char* good : {"debian", "debian:bookworm", "debian:12.5_A-b"})
    CHECK(is_base_name(good));
  for (const char* bad : {"debian:", ":a", "debian:a:b", "debian:.a", "debian:a/b"})
    CHECK_FALSE(is_base_name(bad));
}

TEST_CASE("names: a reference is a name or a name and a version") {
  CHECK(parse_image_reference("counter")->version == 0);
  const auto exact = parse_image_reference("team/counter:12");
  REQUIRE(exact);
  CHECK(exact->name == "team/counter");
  CHECK(exact->version == 12);
  for (const char* bad : {"", "counter:", "counter:0", "counter:01", "counter:-1", "counter:1x",
                          "Counter", "../x", "counter:99999999999999999999"}) {
    const auto reference = parse_image_reference(bad);
    REQUIRE_FALSE(reference);
    CHECK(reference.error().code == ErrorCode::invalid_argument);
  }
}

TEST_CASE("names: a name is one path component and comes back") {
  CHECK(name_to_file("a/b/c") == "a%b%c");
  CHECK(file_to_name("a%b%c") == "a/b/c");
  CHECK(is_plain_file_name("01-virtio.ko"));
  for (const char* bad : {"", ".", "..", "a/b", ".hidden", "a\n"})
    CHECK_FALSE(is_plain_file_name(bad));
}
