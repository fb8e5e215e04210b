// How a test case says that it cannot run here. Such a case is counted and shown as skipped, with
// its reason; the lines at the end of test/run say which reasons are good enough where.
#pragma once

#include <string>

namespace suite {

// The running case counts as skipped, whatever of it ran, unless a check failed.
void skip_case(const std::string& reason);

}  // namespace suite

// Leaves the case, or a function of it that returns nothing.
#define SKIP_CASE(reason)       \
  do {                          \
    ::suite::skip_case(reason); \
    return;                     \
  } while (false)
