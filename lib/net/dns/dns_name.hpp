// Names in messages of DNS (RFC 1035 §3.1, §4.1.4). A WireName is the uncompressed form with its
// lengths and the root's zero, at most 255 bytes, letters in the case they had.
#pragma once

#include <optional>
#include <string>

#include "wire/bytes.hpp"

namespace microvm::net {

using WireName = std::string;

inline constexpr size_t kMaxWireNameBytes = 255;

struct PlacedName {
  WireName name;
  size_t end = 0;  // of what stands at its place: behind the zero, or the first pointer
};

// The name at `at`. Pointers go backwards only and are counted, so that a message costs what its
// length is, whatever it says.
[[nodiscard]] std::optional<PlacedName> read_name(wire::ByteView message, size_t at);
// Where it ends, without following it.
[[nodiscard]] std::optional<size_t> skip_name(wire::ByteView message, size_t at);

// Letters of ASCII in lower case: equal ones are the same name (RFC 4343).
[[nodiscard]] WireName folded(WireName name);

// As rules and flows have it; of a name that is no host's, none.
[[nodiscard]] std::optional<std::string> text_of(const WireName& name);
// The text is a canonical name.
[[nodiscard]] WireName wire_name_of(std::string_view text);

}  // namespace microvm::net
