// The server name of a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), from the bytes of a flow as
// they come: records may be cut anywhere, and the hello may be spread over any number of them.
//
// What can be seen of a hello with ECH is its outer name, that of the front server; the name inside
// is encrypted. So is the second name of a flow that is fronted in other ways (HTTP's Host inside
// TLS): who allows a name allows what its server does for any other.
#pragma once

#include <string>

#include "net/names/shown_name.hpp"
#include "wire/bytes.hpp"

namespace microvm::net {

class ClientHello {
 public:
  // Whether a flow that begins with this byte is to be read as TLS.
  static bool may_begin_with(std::byte first);

  // Takes what came next. The same is told again once it is decided.
  ShownName feed(wire::ByteView bytes);

 private:
  wire::ByteView take_record_header(wire::ByteView bytes);
  wire::ByteView take_fragment(wire::ByteView bytes);
  void read_header();
  void look_at_message();
  void decide(ShownName::Kind kind) { shown_.kind = kind; }

  ShownName shown_;
  size_t fed_ = 0;
  wire::Bytes header_;      // of the record that is coming
  size_t record_left_ = 0;  // of its fragment
  wire::Bytes message_;     // the handshake message, without the records around it
};

}  // namespace microvm::net
