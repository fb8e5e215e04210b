// What the first bytes of a flow, from the guest, say of the name that it is meant for.
#pragma once

#include <cstdint>
#include <string>

namespace microvm::net {

// The bytes that a flow may take until it has shown its name. Who sends more is not waited for.
inline constexpr size_t kMaxNameBytesOfFlow = size_t{16} * 1024;

struct ShownName {
  enum class Kind : uint8_t {
    more,            // not to be said yet
    name,            // `name`, canonical
    no_name,         // TLS or HTTP without a name, or with an address instead of one
    other_protocol,  // neither TLS nor HTTP
    undecidable,     // TLS or HTTP that is malformed, too long, or read differently by others
  };

  Kind kind = Kind::more;
  std::string name;

  [[nodiscard]] bool is_decided() const { return kind != Kind::more; }
};

}  // namespace microvm::net
