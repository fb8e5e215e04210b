#include "net/names/domain_name.hpp"

#include <algorithm>

namespace microvm::net {
namespace {

// Not isalpha(): those of a locale are no letters here.
char canonical_byte(char byte) {
  if (byte >= 'A' && byte <= 'Z') return static_cast<char>(byte - 'A' + 'a');
  const bool is_plain = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
                        byte == '-' || byte == '_' || byte == '.';
  return is_plain ? byte : '\0';
}

bool has_sound_labels(std::string_view name) {
  size_t label_bytes = 0;
  for (const char byte : name) {
    if (byte == '.' && label_bytes == 0) return false;
    label_bytes = byte == '.' ? 0 : label_bytes + 1;
    if (label_bytes > kMaxLabelBytes) return false;
  }
  return label_bytes != 0;
}

bool is_digit(char byte) {
  return byte >= '0' && byte <= '9';
}

bool is_hex_digit(char byte) {
  return is_digit(byte) || (byte >= 'a' && byte <= 'f');
}

}  // namespace

std::optional<std::string> canonical_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.size() > kMaxNameBytes) return std::nullopt;
  std::string name(text);
  for (char& byte : name) byte = canonical_byte(byte);
  if (name.find('\0') != std::string::npos || !has_sound_labels(name)) return std::nullopt;
  return name;
}

bool is_address_literal(std::string_view name) {
  const std::string_view last = name.substr(name.rfind('.') + 1);
  if (std::all_of(last.begin(), last.end(), is_digit)) return true;
  return last.starts_with("0x") && std::all_of(last.begin() + 2, last.end(), is_hex_digit);
}

bool is_below(std::string_view name, std::string_view domain) {
  return name.size() > domain.size() + 1 && name.ends_with(domain) &&
         name[name.size() - domain.size() - 1] == '.';
}

}  // namespace microvm::net
