// microvm-net as a process: how it starts, what it takes, how it ends.
#include <doctest/doctest.h>

#include <chrono>
#include <fstream>
#include <string>

#include "net/network_under_test.hpp"
#include "net/sockets.hpp"

using namespace microvm;
using namespace microvm::test;

TEST_CASE("microvm-net ends with its worker") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  network.let_worker_die();
  const auto end = network.process().wait(sys::WaitLimits::within(std::chrono::milliseconds(5000)));
  REQUIRE(end);
  CHECK(end->code == 0);
}
