// Cases that run on each kind of loop.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <utility>

#include "sys/loop.hpp"

namespace microvm::test {

inline std::unique_ptr<sys::Loop> make_loop(sys::Loop::Backend backend) {
  auto loop = sys::Loop::create(backend);
  if (!loop) return nullptr;
  CHECK((*loop)->backend() == backend);
  return std::move(*loop);
}

template <class Done>
bool run_loop_until(sys::Loop& loop, Done done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!done() && std::chrono::steady_clock::now() < end) {
    loop.run_once(std::chrono::milliseconds(100));
  }
  return done();
}

}  // namespace microvm::test

// Both backends promise the same: every case runs on each. A host without io_uring runs one.
#define LOOP_TEST_CASE(name) LOOP_TEST_CASE_AS(name, DOCTEST_ANONYMOUS(loop_case_))
#define LOOP_TEST_CASE_AS(name, run)                                                    \
  static void run(microvm::sys::Loop& loop);                                            \
  TEST_CASE("loop: " name) {                                                            \
    for (const auto backend :                                                           \
         {microvm::sys::Loop::Backend::io_uring, microvm::sys::Loop::Backend::plain}) { \
      auto loop = microvm::test::make_loop(backend);                                    \
      if (!loop && backend == microvm::sys::Loop::Backend::io_uring) continue;          \
      REQUIRE(loop);                                                                    \
      run(*loop);                                                                       \
    }                                                                                   \
  }                                                                                     \
  static void run([[maybe_unused]] microvm::sys::Loop& loop)
