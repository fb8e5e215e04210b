#include "host/base/printable.hpp"

#include <array>
#include <cstdint>

namespace microvm::host {
namespace {

struct Character {
  uint32_t code = 0;
  size_t bytes = 0;  // 0: not UTF-8
};

// Only the shortest form of each code point, and no surrogates (RFC 3629 §3).
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  uint32_t code = lead & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3fu);
  }
  constexpr std::array<uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kSmallest[bytes] || code > 0x10ffff || surrogate) return {};
  return {code, bytes};
}

bool is_visible(uint32_t code) {
  const auto within = [code](uint32_t first, uint32_t last) {
    return code >= first && code <= last;
  };
  return !within(0, 0x1f) && !within(0x7f, 0x9f) && !within(0x200b, 0x200f) &&
         !within(0x2028, 0x202e) && !within(0x2060, 0x2069) && code != 0xfeff;
}

}  // namespace

std::string printable(std::string_view text, size_t max_bytes) {
  std::string line;
  while (!text.empty()) {
    const Character next = first_character(text);
    const size_t bytes = next.bytes == 0 ? 1 : next.bytes;
    if (line.size() + bytes > max_bytes) return line + "...";
    if (next.bytes != 0 && is_visible(next.code)) {
      line += text.substr(0, bytes);
    } else {
      line += text[0] == '\n' || text[0] == '\t' ? ' ' : '?';
    }
    text.remove_prefix(bytes);
  }
  return line;
}

}  // namespace microvm::host
