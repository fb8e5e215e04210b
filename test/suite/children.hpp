// Runs test cases in a child process, so that one that hangs or crashes is one named failure and
// the rest goes on, in a new child.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace suite {

struct Totals {
  unsigned passed = 0;
  int asserts = 0;
  int failed_asserts = 0;
  bool ran = false;                   // it was no question, as for the list of cases
  int status = 0;                     // of the last child
  std::vector<std::string> failures;  // one line for each failed case: "NAME (PLACE): WHY"
  std::vector<std::string> skips;     // and for each skipped one: "NAME (PLACE): REASON"
};

// Runs the cases from the one of this number (1 is the first) in the calling process, telling of
// each to the socket; returns the exit status.
using RunCases = std::function<int(unsigned first, int socket)>;

Totals run_in_children(const RunCases& run, std::chrono::duration<double> limit);

}  // namespace suite
