// Who a Vm is: what must differ between two clones of one snapshot.
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "base/error.hpp"

namespace microvm::host {

struct Identity {
  std::string hostname;
  std::string machine_id;  // 32 lower-case hex digits
  std::string boot_id;     // a random UUID
  std::array<std::byte, 64> seed{};
};

// Fresh random machine id, boot id and seed.
Result<Identity> make_identity(const std::string& hostname);

}  // namespace microvm::host
