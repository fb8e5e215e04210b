#include "net/policy/learned_names.hpp"

#include <doctest/doctest.h>

#include "made_policy.hpp"

using namespace microvm;
using namespace microvm::net;
using namespace microvm::test;
using namespace std::chrono_literals;
using Names = std::vector<std::string>;

namespace {

const LearnedNames::Time kStart = LearnedNames::Time() + 1000s;

}  // namespace

TEST_CASE("learned names: they count for the answer's time, within bounds") {
  LearnedNames names;
  const Address one = address("192.0.2.1");
  names.learn(one, "short.example", 0s, kStart);
  names.learn(one, "some.example", 300s, kStart);
  names.learn(one, "long.example", 100'000s, kStart);
  CHECK(names.names_of(one, kStart + 59s) ==
        Names{"short.example", "some.example", "long.example"});
  CHECK(names.names_of(one, kStart + 60s) == Names{"some.example", "long.example"});
  CHECK(names.names_of(one, kStart + 300s) == Names{"long.example"});
  CHECK(names.names_of(one, kStart + 3600s).empty());
  CHECK(names.names_of(address("192.0.2.2"), kStart).empty());
}

TEST_CASE("learned names: an answer that comes again counts anew and shortens nothing") {
  LearnedNames names;
  const Address one = address("2001:db8::1");
  names.learn(one, "a.example", 600s, kStart);
  names.learn(one, "a.example", 0s, kStart + 10s);
  CHECK(names.names_of(one, kStart + 599s) == Names{"a.example"});
  names.learn(one, "a.example", 600s, kStart + 590s);
  CHECK(names.names_of(one, kStart + 1100s) == Names{"a.example"});
}

TEST_CASE("learned names: of one address the youngest stay") {
  LearnedNames names({.names_of_address = 3});
  const Address one = address("192.0.2.1");
  for (const char* name : {"a", "b", "c", "a", "d"}) names.learn(one, name, 60s, kStart);
  CHECK(names.names_of(one, kStart) == Names{"c", "a", "d"});
}

TEST_CASE("learned names: bounded, what is used stays") {
  LearnedNames names({.bytes = 20'000});
  const Address kept = address("192.0.2.1");
  names.learn(kept, "kept.example", 3600s, kStart);
  for (uint32_t i = 0; i < 10'000; ++i) {
    names.learn(from_ipv4({10, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}),
                "n" + std::to_string(i) + ".example", 60s, kStart);
    if (i % 20 == 0) CHECK(names.names_of(kept, kStart) == Names{"kept.example"});
  }
  CHECK(names.bytes() <= 20'000);
  CHECK(names.addresses() > 50);
  CHECK(names.names_of(from_ipv4({10, 0, 0, 1}), kStart).empty());
}
