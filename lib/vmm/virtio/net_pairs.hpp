// The UDP pairs that microvm-net has admitted: their packets go to the tap.
#pragma once

#include <cstddef>
#include <set>
#include <utility>

#include "wire/net.hpp"

namespace microvm::vmm {

class NetPairs {
 public:
  // Beyond, none is taken: microvm-net is then asked about each packet.
  static constexpr size_t kMost = 8192;

  void apply(const wire::UdpPair& pair) {
    const Key key = key_of(pair.guest, pair.remote);
    if (!pair.admitted) {
      pairs_.erase(key);
    } else if (pairs_.size() < kMost) {
      pairs_.insert(key);
    }
  }
  [[nodiscard]] bool holds(const wire::NetEndpoint& guest, const wire::NetEndpoint& remote) const {
    return pairs_.contains(key_of(guest, remote));
  }
  [[nodiscard]] size_t size() const { return pairs_.size(); }
  void clear() { pairs_.clear(); }

 private:
  // Ordered, for the guest chooses the keys: no choice of them makes this slow.
  using Half = std::pair<uint16_t, std::array<uint8_t, 16>>;
  using Key = std::pair<Half, Half>;
  static Key key_of(const wire::NetEndpoint& guest, const wire::NetEndpoint& remote) {
    return {{guest.port, guest.address}, {remote.port, remote.address}};
  }

  std::set<Key> pairs_;
};

}  // namespace microvm::vmm
