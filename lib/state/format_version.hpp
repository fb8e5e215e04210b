// What a reader says of a file, or a part of one, whose version it does not know.
//
// How formats grow: what older libraries may do without gets a place of its own that they skip (a
// further section, or a further field of a JSON record, which is lost when such a library writes
// the record again); what they must not do without, or must not lose, raises the version, and they
// refuse the whole. Where the version stands, and the sum over it, never moves: so an older library
// can tell a newer file from a damaged one.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.hpp"

namespace microvm::state {

// `what` begins the message, `word` is what its versions are called. Errors: unsupported for one
// above `newest`; corrupt for 0, which no library ever wrote.
[[nodiscard]] inline Result<void> check_version(const std::string& what, uint64_t version,
                                                uint64_t newest, const char* word = "version") {
  const std::string name = what + ": " + word + " " + std::to_string(version);
  if (version == 0) return base::fail(ErrorCode::corrupt, name + " does not exist");
  if (version <= newest) return {};
  return base::fail(
      ErrorCode::unsupported,
      name + " was made by a newer libmicrovm, this one reads up to " + std::to_string(newest));
}

}  // namespace microvm::state
