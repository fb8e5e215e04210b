#include "examples/cli/environment.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>

using cli::add_variable;
using cli::add_variables;
using Variables = std::vector<std::string>;

namespace {

constexpr const char* kHere = "MICROVM_TEST_HERE";

// What the file gives, or what is wrong with it.
Variables read(const std::string& text) {
  std::istringstream file(text);
  Variables read;
  const auto added = add_variables(file, read);
  return added ? read : Variables{added.error().message};
}

}  // namespace

TEST_CASE("cli: a variable by its name alone is what it is here") {
  REQUIRE(::setenv(kHere, "a=b c", 1) == 0);
  REQUIRE(::unsetenv("MICROVM_TEST_NOT_HERE") == 0);
  Variables taken;
  for (const char* text : {"A=", "B=x=y", kHere, "MICROVM_TEST_NOT_HERE"}) {
    CHECK(add_variable(text, taken));
  }
  CHECK(taken == Variables{"A=", "B=x=y", std::string(kHere) + "=a=b c", "MICROVM_TEST_NOT_HERE"});
  for (const char* text : {"", "=", "=x"}) CHECK_FALSE(add_variable(text, taken));
}

TEST_CASE("cli: a file of variables, as docker reads it") {
  REQUIRE(::setenv(kHere, "1", 1) == 0);
  CHECK(read("") == Variables{});
  CHECK(read("A=1\n\n# no\n  #no\n  B= x \"y\" # z \r\nC=\n") ==
        Variables{"A=1", "B= x \"y\" # z ", "C="});
  CHECK(read(std::string(kHere) + "\n") == Variables{std::string(kHere) + "=1"});
  CHECK(read("\xef\xbb\xbf"
             "A=1") == Variables{"A=1"});
  CHECK(read("A=1\nB C=2\n") == Variables{"line 2: blanks in the name \"B C\""});
  CHECK(read("\n=2\n") == Variables{"line 2: no name in \"=2\""});
}
