// The one form in which names of domains are compared: lower-case A-labels with dots between and
// none at the end. What a guest sends is brought to it or is no name; a rule's domain is in it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace microvm::net {

inline constexpr size_t kMaxNameBytes = 253;
inline constexpr size_t kMaxLabelBytes = 63;

// Letters, digits, hyphens and underscores in labels of 1 to 63 bytes; one dot at the end is taken
// off. Nothing else is a name here: a server or resolver behind us might read other bytes as
// another name than we do. Names in other scripts come as A-labels (xn--…), whose digits have no
// case that counts either, so lower-case A-labels are the same name or are different ones.
[[nodiscard]] std::optional<std::string> canonical_name(std::string_view text);

// Whether a client or server would take it for an address: 1.2.3.4, but also 0x7f.1 and 1: all
// whose last label is a number. The text is a canonical name.
[[nodiscard]] bool is_address_literal(std::string_view name);

// Whether the name is below the domain: a.b.example.org is below example.org, example.org is not.
[[nodiscard]] bool is_below(std::string_view name, std::string_view domain);

}  // namespace microvm::net
