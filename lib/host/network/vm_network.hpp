// What a Vm's network device is connected to: from the embedder's options to what is recorded.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "microvm/network.hpp"
#include "wire/network_setup.hpp"

namespace microvm::host {

// In the Vm's record. The policy stands in a file of its own (setup_file.hpp).
struct VmNetwork {
  NetworkMode mode = NetworkMode::none;  // never automatic
  // Of mode tap. The name is empty where the owner gave an fd, which nobody else has.
  std::string tap;
  std::string mac;
  std::vector<std::string> addresses;
  std::vector<std::string> gateways;
  std::vector<std::string> dns;
  bool operator==(const VmNetwork&) const = default;
};

inline constexpr size_t kMaxTapAddresses = 8;    // of each kind
inline constexpr size_t kMaxInterfaceName = 15;  // IFNAMSIZ without its zero

struct ChosenNetwork {
  VmNetwork network;
  wire::NetworkSetup setup;
};

// For a Vm of this image. Errors: invalid_argument; unsupported (a network is asked for, and the
// image has no device).
[[nodiscard]] Result<ChosenNetwork> choose_network(const NetworkOptions& options, bool has_device,
                                                   const std::string& image);

// The tap of a record's name, or a copy of the embedder's fd: non-blocking, with a virtio-net
// header of 12 bytes. Errors: not_found, permission_denied, busy (it is in use), unsupported (no
// /dev/net/tun), invalid_argument (no such tap).
[[nodiscard]] Result<base::Fd> open_tap(const std::string& name);
[[nodiscard]] Result<base::Fd> adopt_tap(int fd);

}  // namespace microvm::host
