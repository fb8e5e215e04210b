#include "host/vm/environment.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::host;
using Variables = std::vector<std::string>;

namespace {

const Variables kImage = {"PATH=/bin", "A=image", "B=image"};

Variables made_of(const Variables& own) {
  const auto made = make_environment(kImage, own);
  REQUIRE(made);
  return *made;
}

}  // namespace

TEST_CASE("environment: the caller's win, the last of a name counts, each stands there once") {
  CHECK(made_of({}) == kImage);
  CHECK(made_of({"A=1", "C=x=y", "A=2", "D="}) ==
        Variables{"PATH=/bin", "B=image", "C=x=y", "A=2", "D="});
}

TEST_CASE("environment: a name alone takes the variable away, but for a PATH") {
  CHECK(made_of({"A"}) == Variables{"PATH=/bin", "B=image"});
  CHECK(made_of({"A=1", "A"}) == Variables{"PATH=/bin", "B=image"});
  CHECK(made_of({"A", "A=1"}) == Variables{"PATH=/bin", "B=image", "A=1"});
  const Variables without = made_of({"PATH"});
  CHECK(has_variable(without, "PATH"));
  CHECK(without.back() != "PATH=/bin");
}

TEST_CASE("environment: nothing has no name") {
  for (const char* wrong : {"", "=", "=x"}) {
    const auto made = make_environment(kImage, {wrong});
    REQUIRE_FALSE(made);
    CHECK(made.error().code == ErrorCode::invalid_argument);
  }
}
