#include "host/network/setup_file.hpp"

#include <doctest/doctest.h>

#include <fstream>

#include "host/network/rule_text.hpp"
#include "sys/file.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;

TEST_CASE("network setup file: written once, replaced whole, read and passed on") {
  const test::TempDir dir;
  CHECK(read_setup(dir.path()).error().code == ErrorCode::not_found);
  const auto first = compile_policy({.rules = {"allow tcp *:443"}});
  REQUIRE(first);
  REQUIRE(write_new_setup(dir.path(), *first));
  CHECK(policy_of(*read_setup(dir.path())).rules.size() == 1);
  CHECK(write_new_setup(dir.path(), *first).error().code == ErrorCode::already_exists);

  const auto old_file = open_setup(dir.path());
  REQUIRE(old_file);
  REQUIRE(replace_setup(dir.path(), wire::NetworkSetup{}));
  CHECK(policy_of(*read_setup(dir.path())) == NetworkPolicy{});
  // Who holds the one before has it whole.
  const auto bytes = sys::read_all(old_file->get(), wire::kMaxNetworkSetupBytes);
  REQUIRE(bytes);
  CHECK(policy_of(*wire::decode_network_setup(*bytes)).rules.size() == 1);
}

TEST_CASE("network setup file: one that is damaged is named") {
  const test::TempDir dir;
  std::ofstream(dir / wire::kNetworkFile) << "no setup";
  const auto read = read_setup(dir.path());
  REQUIRE_FALSE(read);
  CHECK(read.error().code == ErrorCode::corrupt);
  CHECK(read.error().message.find("/network: ") != std::string::npos);
}
