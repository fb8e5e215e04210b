#include "wire/shape.hpp"

#include <doctest/doctest.h>

using namespace microvm::wire;

namespace {

constexpr Shape kGood{.memory_bytes = 64u << 20, .vcpus = 1, .disks = 1};

template <class Field, class Value>
std::string problem_with(Field field, Value value) {
  Shape shape = kGood;
  shape.*field = static_cast<std::remove_reference_t<decltype(shape.*field)>>(value);
  return shape_problem(shape);
}

}  // namespace

TEST_CASE("shape: a peak that is not given is the baseline") {
  CHECK(kGood.memory_limit() == 64u << 20);
  CHECK(kGood.vcpu_limit() == 1);
  Shape spelt_out = kGood;
  spelt_out.peak_memory_bytes = spelt_out.memory_bytes;
  spelt_out.peak_vcpus = spelt_out.vcpus;
  CHECK(spelt_out == kGood);
  CHECK((spelt_out <=> kGood) == 0);

  Shape larger = kGood;
  larger.peak_vcpus = 4;
  CHECK(larger != kGood);
  CHECK(kGood < larger);
  CHECK(larger.vcpu_limit() == 4);

  Shape on_pci = kGood;
  on_pci.transport = TransportKind::pci;
  CHECK(on_pci != kGood);
  CHECK(kGood < on_pci);
}

TEST_CASE("shape: every field has its bounds, and the message says what to give") {
  CHECK(shape_problem(kGood).empty());
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, kMemoryStep - 1, kMemoryStep + 1,
                               kMaxMemoryBytes + kMemoryStep, ~uint64_t{0}}) {
    CHECK(problem_with(&Shape::memory_bytes, bytes).starts_with("memory of "));
  }
  CHECK(problem_with(&Shape::memory_bytes, kMemoryStep).empty());
  CHECK(problem_with(&Shape::memory_bytes, kMaxMemoryBytes).empty());

  for (const uint64_t bytes : {uint64_t{1}, uint64_t{62u << 20}, (uint64_t{64} << 20) + 1,
                               kMaxMemoryBytes + kMemoryStep, ~uint64_t{0}}) {
    CHECK(problem_with(&Shape::peak_memory_bytes, bytes).starts_with("peak memory of "));
  }
  CHECK(problem_with(&Shape::peak_memory_bytes, 64u << 20).empty());
  CHECK(problem_with(&Shape::peak_memory_bytes, kMaxMemoryBytes).empty());

  CHECK(problem_with(&Shape::vcpus, 0) == "0 vcpus: give 1 to 64");
  CHECK(problem_with(&Shape::vcpus, 64).empty());
  CHECK_FALSE(problem_with(&Shape::vcpus, 65).empty());
  CHECK(problem_with(&Shape::peak_vcpus, 64).empty());
  CHECK_FALSE(problem_with(&Shape::peak_vcpus, 65).empty());
  Shape shrinking = kGood;
  shrinking.vcpus = 4;
  shrinking.peak_vcpus = 3;
  CHECK(shape_problem(shrinking) == "3 peak vcpus: give the baseline's to 64");

  CHECK(problem_with(&Shape::disks, 0).empty());
  CHECK(problem_with(&Shape::disks, kMaxDisks).empty());
  CHECK(problem_with(&Shape::disks, kMaxDisks + 1) == "5 disks: give at most 4");
  CHECK(problem_with(&Shape::nets, kMaxNets).empty());
  CHECK(problem_with(&Shape::nets, kMaxNets + 1) == "2 nets: give at most 1");
}
