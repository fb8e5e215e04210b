#include "report.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace bench {

namespace {

// What follows `key` and a colon in a file of /proc; empty when it is not there.
std::string proc_field(const char* file, const std::string& key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    const size_t value = line.find_first_not_of(" \t", line.find(':') + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

double load_of_one_minute() {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

}  // namespace

double Series::percentile(double percent) const {
  if (values_.empty()) return 0;
  std::vector<double> sorted = values_;
  std::ranges::sort(sorted);
  const double rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()));
  return sorted[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

Json Series::json() const {
  return {{"n", values_.size()},
          {"min", percentile(0)},
          {"p50", percentile(50)},
          {"p99", percentile(99)},
          {"max", percentile(100)}};
}

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void say(const std::string& line) {
  std::fprintf(stderr, "%s\n", line.c_str());
}

Json conditions() {
  utsname system{};
  ::uname(&system);
  const char* place = std::getenv("MICROVM_BENCH_PLACE");
  const std::string memory = proc_field("/proc/meminfo", "MemTotal");
  return {{"place", place != nullptr ? place : "direct"},
          {"kernel", system.release},
          {"cpu", proc_field("/proc/cpuinfo", "model name")},
          {"cpus", ::sysconf(_SC_NPROCESSORS_ONLN)},
          {"memory_mib", std::strtoull(memory.c_str(), nullptr, 10) >> 10},
          {"load_1min_at_end", load_of_one_minute()}};
}

void print_report(const std::string& bench, const Json& figures) {
  Json report{{"bench", bench}};
  report.update(figures);
  report["conditions"] = conditions();
  std::printf("%s\n", report.dump(2).c_str());
}

void fail(const std::string& why) {
  say("bench: " + why);
  std::exit(1);
}

uint32_t positive_number(const char* argument) {
  uint32_t number = 0;
  const char* end = argument + std::strlen(argument);
  const auto parsed = std::from_chars(argument, end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end || number == 0)
    fail(std::string(argument) + " is not a positive number");
  return number;
}

}  // namespace bench
