#include "net/policy/token_bucket.hpp"

#include <doctest/doctest.h>

using namespace microvm::net;
using namespace std::chrono_literals;

namespace {

const TokenBucket::Time kStart = TokenBucket::Time() + 1000s;

}  // namespace

TEST_CASE("token bucket: a burst, then the rate") {
  TokenBucket bucket(10, 5, kStart);
  for (int i = 0; i < 5; ++i) CHECK(bucket.take(1, kStart));
  CHECK_FALSE(bucket.take(1, kStart));
  CHECK(bucket.when(1, kStart) == kStart + 100ms);
  CHECK_FALSE(bucket.take(1, kStart + 99ms));
  CHECK(bucket.take(1, kStart + 100ms));
  CHECK_FALSE(bucket.take(1, kStart + 199ms));
  CHECK(bucket.take(5, kStart + 10s));
  CHECK_FALSE(bucket.take(1, kStart + 10s));
}

TEST_CASE("token bucket: a slow rate that is asked often still fills") {
  TokenBucket bucket(1, 1, kStart);
  CHECK(bucket.take(1, kStart));
  for (auto at = 1ms; at < 1000ms; at += 1ms) CHECK_FALSE(bucket.take(1, kStart + at));
  CHECK(bucket.take(1, kStart + 1s));
}

TEST_CASE("token bucket: part of what is asked, and back") {
  TokenBucket bucket(1000, 100, kStart);
  CHECK(bucket.take_up_to(70, kStart) == 70);
  CHECK(bucket.take_up_to(70, kStart) == 30);
  CHECK(bucket.take_up_to(70, kStart) == 0);
  bucket.give_back(20);
  CHECK(bucket.take_up_to(70, kStart) == 20);
  bucket.give_back(1000);
  CHECK(bucket.take_up_to(1000, kStart) == 100);
  CHECK(bucket.when(5000, kStart) == kStart + 100ms);
}

TEST_CASE("token bucket: no limit, and limits that come and go") {
  TokenBucket bucket(0, 0, kStart);
  CHECK(bucket.take(UINT64_MAX, kStart));
  CHECK(bucket.when(UINT64_MAX, kStart) == kStart);
  bucket.set_limit(10, 10, kStart);
  CHECK(bucket.take_up_to(100, kStart) == 10);
  bucket.set_limit(100, 50, kStart);
  CHECK_FALSE(bucket.take(1, kStart));
  CHECK(bucket.take(50, kStart + 500ms));
  bucket.set_limit(0, 0, kStart + 500ms);
  CHECK(bucket.take(1000, kStart + 500ms));
}

TEST_CASE("token bucket: years and great rates do not overflow") {
  TokenBucket bucket(UINT64_MAX, UINT64_MAX, kStart);
  CHECK(bucket.take(UINT64_MAX, kStart));
  CHECK(bucket.take(UINT64_MAX, kStart + 24h * 3650));
  CHECK(bucket.take_up_to(5, kStart) == 0);  // a clock that went back gives nothing
}
