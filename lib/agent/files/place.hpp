// Where a file is or goes: its directory, opened, and its name there. What is done to it then is
// done in that directory, whatever happens to the path meanwhile.
#pragma once

#include <string>
#include <vector>

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

struct Place {
  base::Fd parent;
  std::string name;  // "." for the root itself
};

// A path for a message: the end of a long one, so that the reason after it still fits.
[[nodiscard]] std::string shown_path(const std::string& path);

// Whether there is a link.
[[nodiscard]] bool is_link(const Place& place);

// Missing parents are made, mode 0755. ".." is refused: what is meant depends on links.
[[nodiscard]] Outcome<Place> make_place(int root, const std::string& path);

// The parent has to be there. A link in the last place is followed where `follow` says so.
enum class LastLink { keep, follow };
[[nodiscard]] Outcome<Place> find_place(int root, const std::string& path, LastLink last);

// The target of the link `name`, at most 4095 bytes. Error EINVAL when it is no link.
[[nodiscard]] Outcome<std::string> read_link(int directory, const char* name);

}  // namespace microvm::agent
