// What every bench prints: one JSON object on standard output, what it is doing on standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "microvm/error.hpp"

namespace bench {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

// Values of one quantity; the unit is in the name it is printed under.
class Series {
 public:
  void add(double value) { values_.push_back(value); }
  // Nearest rank; of no values: 0.
  [[nodiscard]] double percentile(double percent) const;
  // n, min, p50, p99, max.
  [[nodiscard]] Json json() const;

 private:
  std::vector<double> values_;
};

double ms_since(Clock::time_point start);

// A line on standard error.
void say(const std::string& line);

// Kernel, processor, memory and load of this machine, and where it is: MICROVM_BENCH_PLACE in the
// environment, "direct" or "rig"; bench/run sets it.
Json conditions();

// Prints the object, with the bench's name first and the conditions last.
void print_report(const std::string& bench, const Json& figures);

// Says why on standard error and ends the program.
[[noreturn]] void fail(const std::string& why);

// The whole argument as a positive number, or the end of the program.
uint32_t positive_number(const char* argument);

template <class T>
T need(microvm::Result<T> result) {
  if (!result) fail(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace bench
