// Whether this host lets an ordinary user have a network of his own (NetworkMode::user).
#pragma once

#include <string>

#include "base/error.hpp"

namespace microvm::host {

// What was tried, as errno; 0: it can be had.
struct UserNetworkTrial {
  int namespaces = 0;    // a user and a network namespace
  int capabilities = 0;  // what one is worth in them; Ubuntu takes it away
  int tun = 0;           // /dev/net/tun
};
// In a child of its own for the time of a few calls.
[[nodiscard]] UserNetworkTrial try_user_network();

// What is wrong, and what to change; of the first that is wrong. Empty: nothing.
struct UserNetworkProblem {
  std::string is;
  std::string advice;
};
[[nodiscard]] UserNetworkProblem namespace_problem(const UserNetworkTrial& trial,
                                                   const std::string& program);
[[nodiscard]] UserNetworkProblem tun_problem(const UserNetworkTrial& trial);

// Error unsupported: with both.
[[nodiscard]] Result<void> check_user_network(const UserNetworkTrial& trial);

}  // namespace microvm::host
