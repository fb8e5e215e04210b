// Measured values, printed as fields of a line of JSON.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

namespace microvm::vmm::test {

inline double microseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

class Series {
 public:
  void add(double value) { values_.push_back(value); }
  [[nodiscard]] bool empty() const { return values_.empty(); }
  void print(const char* name) {
    std::ranges::sort(values_);
    std::printf(",\"%s\":{\"p50\":%.0f,\"p99\":%.0f,\"min\":%.0f}", name, at(50), at(99),
                values_.front());
  }

 private:
  [[nodiscard]] double at(size_t percent) const {
    return values_[std::min(values_.size() - 1, values_.size() * percent / 100)];
  }
  std::vector<double> values_;
};

}  // namespace microvm::vmm::test
