// Who a program runs as: "name", "uid", "name:group" or "uid:gid", looked up by hand in the image's
// own /etc/passwd and /etc/group (a static program has no NSS, and would not run the image's).
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "agent/base/failed.hpp"

namespace microvm::agent {

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary; at most kMaxGroups
  std::string home = "/";
  std::string shell;  // empty: the database does not say
};

inline constexpr size_t kMaxGroups = 256;

// Empty text is root. As docker has it: a number needs no entry, and a named group excludes the
// supplementary ones.
[[nodiscard]] Outcome<User> find_user(int root, std::string_view text);

}  // namespace microvm::agent
