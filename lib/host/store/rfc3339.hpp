// Times as the records and the public structs have them.
#pragma once

#include <ctime>
#include <string>

namespace microvm::host {

// "2026-11-24T09:30:00Z"
inline std::string rfc3339(std::time_t time) {
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

inline std::string rfc3339_now() {
  return rfc3339(std::time(nullptr));
}

}  // namespace microvm::host
