#include "net/dns/answer_cache.hpp"

#include <doctest/doctest.h>

using namespace microvm::net;
using namespace std::chrono_literals;

namespace {

const AnswerCache::Time kStart = AnswerCache::Time() + 1000s;

DnsAnswer answer(size_t bytes, std::chrono::seconds ttl) {
  DnsAnswer out;
  out.message.resize(bytes);
  out.ttl = ttl;
  return out;
}

}  // namespace

TEST_CASE("answer cache: as long as it counts, and how old it is") {
  AnswerCache cache;
  cache.keep("a", answer(100, 60s), kStart);
  cache.keep("none", answer(100, 0s), kStart);
  CHECK(cache.find("a", kStart + 59s).age == 59s);
  CHECK(cache.find("a", kStart + 60s).answer == nullptr);
  CHECK(cache.find("a", kStart).answer == nullptr);  // it is gone
  CHECK(cache.find("none", kStart).answer == nullptr);
  CHECK(cache.bytes() == 0);
}

TEST_CASE("answer cache: bounded, what is used stays; of one question the youngest") {
  AnswerCache cache({.bytes = 10'000, .bytes_of_answer = 2000});
  cache.keep("used", answer(100, 3600s), kStart);
  for (int i = 0; i < 1000; ++i) {
    cache.keep(std::to_string(i), answer(500, 3600s), kStart);
    CHECK(cache.find("used", kStart).answer != nullptr);
  }
  CHECK(cache.bytes() <= 10'000);
  CHECK(cache.find("0", kStart).answer == nullptr);
  CHECK(cache.find("999", kStart).answer != nullptr);
  cache.keep("long", answer(2000, 3600s), kStart);
  CHECK(cache.find("long", kStart).answer == nullptr);
  cache.keep("used", answer(200, 3600s), kStart + 1s);
  CHECK(cache.find("used", kStart + 1s).answer->message.size() == 200);
  cache.clear();
  CHECK(cache.bytes() == 0);
  CHECK(cache.find("used", kStart).answer == nullptr);
}
