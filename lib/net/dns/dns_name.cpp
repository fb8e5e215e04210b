#include "net/dns/dns_name.hpp"

#include "net/names/domain_name.hpp"

namespace microvm::net {
namespace {

constexpr size_t kMaxPointers = 32;  // more than any compressor makes of 127 labels that it knows
constexpr uint8_t kPointerBits = 0xc0;

uint8_t byte_at(wire::ByteView message, size_t at) {
  return static_cast<uint8_t>(message[at]);
}

bool is_pointer(wire::ByteView message, size_t at) {
  return at + 1 < message.size() && (byte_at(message, at) & kPointerBits) == kPointerBits;
}

size_t pointed_to(wire::ByteView message, size_t at) {
  return (size_t{byte_at(message, at) & 0x3fu} << 8) | byte_at(message, at + 1);
}

// The length of the label at `at`, which is there whole; 0 is the root's. None of the two other
// kinds of label that were once thought of.
std::optional<size_t> label_at(wire::ByteView message, size_t at) {
  if (at >= message.size()) return std::nullopt;
  const size_t length = byte_at(message, at);
  if (length > kMaxLabelBytes || at + 1 + length > message.size()) return std::nullopt;
  return length;
}

}  // namespace

std::optional<PlacedName> read_name(wire::ByteView message, size_t at) {
  PlacedName out;
  size_t start = at;  // of the run of labels that is read
  for (size_t pointers = 0;;) {
    if (is_pointer(message, at)) {
      const size_t target = pointed_to(message, at);
      if (target >= start || ++pointers > kMaxPointers) return std::nullopt;
      if (out.end == 0) out.end = at + 2;
      at = start = target;
      continue;
    }
    const auto length = label_at(message, at);
    if (!length || out.name.size() + *length + 1 > kMaxWireNameBytes) return std::nullopt;
    out.name += wire::as_text(message.subspan(at, *length + 1));
    at += *length + 1;
    if (*length != 0) continue;
    if (out.end == 0) out.end = at;
    return out;
  }
}

std::optional<size_t> skip_name(wire::ByteView message, size_t at) {
  const size_t start = at;
  while (!is_pointer(message, at)) {
    const auto length = label_at(message, at);
    if (!length) return std::nullopt;
    at += *length + 1;
    if (at - start > kMaxWireNameBytes) return std::nullopt;
    if (*length == 0) return at;
  }
  return at + 2;
}

WireName folded(WireName name) {
  for (char& byte : name) {
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<char>(byte - 'A' + 'a');
  }
  return name;
}

// A dot inside a label would read as one between labels.
std::optional<std::string> text_of(const WireName& name) {
  std::string text;
  for (size_t at = 0; at < name.size() && name[at] != '\0';) {
    const auto length = static_cast<uint8_t>(name[at]);
    const std::string_view label = std::string_view(name).substr(at + 1, length);
    if (label.find('.') != std::string_view::npos) return std::nullopt;
    if (!text.empty()) text += '.';
    text += label;
    at += length + size_t{1};
  }
  return canonical_name(text);
}

WireName wire_name_of(std::string_view text) {
  WireName name;
  while (!text.empty()) {
    const std::string_view label = text.substr(0, text.find('.'));
    name += static_cast<char>(label.size());
    name += label;
    text.remove_prefix(std::min(text.size(), label.size() + 1));
  }
  return name + '\0';
}

}  // namespace microvm::net
