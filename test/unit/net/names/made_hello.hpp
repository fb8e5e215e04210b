// A TLS ClientHello as clients send it, and as they should not.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/names/big_endian.hpp"

namespace microvm::test {

template <class Length>
wire::Bytes sized(wire::ByteView body) {
  wire::Bytes out;
  net::put_big_endian(out, static_cast<Length>(body.size()));
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

inline void append(wire::Bytes& out, wire::ByteView more) {
  out.insert(out.end(), more.begin(), more.end());
}

inline wire::Bytes extension(uint16_t type, wire::ByteView body) {
  wire::Bytes out;
  net::put_big_endian(out, type);
  append(out, sized<uint16_t>(body));
  return out;
}

inline wire::Bytes name_entry(std::string_view name, uint8_t type = 0) {
  wire::Bytes out{static_cast<std::byte>(type)};
  append(out, sized<uint16_t>(wire::as_bytes(name)));
  return out;
}

inline wire::Bytes server_name(std::string_view name) {
  return extension(0, sized<uint16_t>(name_entry(name)));
}

// supported_versions, as a filler before the one that counts.
inline wire::Bytes some_extension() {
  return extension(43, wire::as_bytes(std::string_view("\x04\x03\x04\x03\x03", 5)));
}

inline wire::Bytes hello_body(wire::ByteView extensions) {
  wire::Bytes out{std::byte{3}, std::byte{3}};
  append(out, wire::Bytes(32, std::byte{0x5a}));
  append(out, sized<uint8_t>(wire::Bytes(32, std::byte{1})));
  append(out, sized<uint16_t>(wire::as_bytes(std::string_view("\x13\x01\x13\x02", 4))));
  append(out, sized<uint8_t>(wire::Bytes(1)));
  append(out, sized<uint16_t>(extensions));
  return out;
}

inline wire::Bytes handshake(wire::ByteView body, uint8_t type = 1) {
  wire::Bytes out{static_cast<std::byte>(type), std::byte{0}};
  append(out, sized<uint16_t>(body));
  return out;
}

// The message in records of at most `fragment` bytes.
inline wire::Bytes records(wire::ByteView message, size_t fragment = 16'384) {
  wire::Bytes out;
  while (!message.empty()) {
    const auto part = message.first(std::min(fragment, message.size()));
    append(out, wire::Bytes{std::byte{22}, std::byte{3}, std::byte{1}});
    append(out, sized<uint16_t>(part));
    message = message.subspan(part.size());
  }
  return out;
}

inline wire::Bytes joined(const std::vector<wire::Bytes>& parts) {
  wire::Bytes out;
  for (const auto& part : parts) append(out, part);
  return out;
}

inline wire::Bytes hello_for(std::string_view name, size_t fragment = 16'384) {
  return records(handshake(hello_body(joined({some_extension(), server_name(name)}))), fragment);
}

}  // namespace microvm::test
