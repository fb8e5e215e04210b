#include "net/names/client_hello.hpp"

#include <algorithm>
#include <optional>

#include "net/names/big_endian.hpp"
#include "net/names/domain_name.hpp"

namespace microvm::net {
namespace {

constexpr std::byte kHandshakeRecord{22};
constexpr std::byte kMajorVersion{3};
constexpr size_t kRecordHeaderBytes = 5;
constexpr size_t kMaxFragmentBytes = 16'384;
constexpr uint8_t kClientHelloMessage = 1;
constexpr size_t kMessageHeaderBytes = 4;
constexpr size_t kRandomBytes = 32;
constexpr size_t kMaxSessionIdBytes = 32;
constexpr uint16_t kServerNameExtension = 0;
constexpr uint8_t kHostName = 0;

using Kind = ShownName::Kind;

ShownName undecidable() {
  return {.kind = Kind::undecidable, .name = {}};
}

// RFC 6066 §3: a list of names, of which there is one type, and one name of a type.
ShownName read_server_name(BigEndianReader extension) {
  BigEndianReader list = extension.sized<uint16_t>();
  const auto type = list.get<uint8_t>();
  BigEndianReader text = list.sized<uint16_t>();
  if (!list.done() || !extension.done() || type != kHostName) return undecidable();
  auto name = canonical_name(wire::as_text(text.rest()));
  if (!name) return undecidable();
  if (is_address_literal(*name)) return {.kind = Kind::no_name, .name = {}};
  return {.kind = Kind::name, .name = std::move(*name)};
}

// Two of one kind are read by some as the first and by some as the last.
ShownName read_extensions(BigEndianReader extensions) {
  std::optional<ShownName> shown;
  while (extensions.ok() && extensions.left() > 0) {
    const auto type = extensions.get<uint16_t>();
    const BigEndianReader body = extensions.sized<uint16_t>();
    if (type != kServerNameExtension) continue;
    if (shown) return undecidable();
    shown = read_server_name(body);
  }
  if (!extensions.ok()) return undecidable();
  return shown.value_or(ShownName{.kind = Kind::no_name, .name = {}});
}

ShownName read_hello(wire::ByteView body) {
  BigEndianReader in(body);
  in.skip(sizeof(uint16_t) + kRandomBytes);
  if (in.sized<uint8_t>().left() > kMaxSessionIdBytes) return undecidable();
  const size_t cipher_suites = in.sized<uint16_t>().left();
  const size_t compressions = in.sized<uint8_t>().left();
  if (!in.ok() || cipher_suites < 2 || cipher_suites % 2 != 0 || compressions == 0) {
    return undecidable();
  }
  if (in.done()) return {.kind = Kind::no_name, .name = {}};  // before there were extensions
  const BigEndianReader extensions = in.sized<uint16_t>();
  return in.done() ? read_extensions(extensions) : undecidable();
}

}  // namespace

bool ClientHello::may_begin_with(std::byte first) {
  return first == kHandshakeRecord;
}

ShownName ClientHello::feed(wire::ByteView bytes) {
  while (!bytes.empty() && !shown_.is_decided()) {
    const size_t before = bytes.size();
    bytes = record_left_ == 0 ? take_record_header(bytes) : take_fragment(bytes);
    fed_ += before - bytes.size();
    if (fed_ > kMaxNameBytesOfFlow && !shown_.is_decided()) decide(Kind::undecidable);
  }
  return shown_;
}

wire::ByteView ClientHello::take_record_header(wire::ByteView bytes) {
  const size_t count = std::min(bytes.size(), kRecordHeaderBytes - header_.size());
  header_.insert(header_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(count));
  read_header();
  return bytes.subspan(count);
}

// A first record that is none is another protocol; one that comes later is damage. A fragment of
// nothing is allowed to no handshake message (RFC 8446 §5.1), and is a way to send without end.
void ClientHello::read_header() {
  const Kind if_wrong = message_.empty() ? Kind::other_protocol : Kind::undecidable;
  if (header_[0] != kHandshakeRecord) return decide(if_wrong);
  if (header_.size() > 1 && header_[1] != kMajorVersion) return decide(if_wrong);
  if (header_.size() < kRecordHeaderBytes) return;
  BigEndianReader length(wire::ByteView(header_).subspan(3));
  record_left_ = length.get<uint16_t>();
  header_.clear();
  if (record_left_ == 0 || record_left_ > kMaxFragmentBytes) decide(Kind::undecidable);
}

wire::ByteView ClientHello::take_fragment(wire::ByteView bytes) {
  const size_t count = std::min(bytes.size(), record_left_);
  message_.insert(message_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(count));
  record_left_ -= count;
  look_at_message();
  return bytes.subspan(count);
}

void ClientHello::look_at_message() {
  BigEndianReader in(message_);
  if (in.get<uint8_t>() != kClientHelloMessage) return decide(Kind::undecidable);
  const size_t size = (size_t{in.get<uint8_t>()} << 16) | in.get<uint16_t>();
  if (!in.ok()) return;
  if (size > kMaxNameBytesOfFlow) return decide(Kind::undecidable);
  if (message_.size() < kMessageHeaderBytes + size) return;
  shown_ = read_hello(wire::ByteView(message_).subspan(kMessageHeaderBytes, size));
  message_ = {};
}

}  // namespace microvm::net
