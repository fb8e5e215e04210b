#include "net/dns/dns_stream.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::net;

namespace {

std::string taken(DnsStream& stream) {
  const auto message = stream.take();
  return message ? std::string(wire::as_text(*message)) : "(none)";
}

}  // namespace

TEST_CASE("dns stream: messages, however they are cut") {
  wire::Bytes bytes = with_length(wire::as_bytes("first"));
  for (const char* text : {"", "third"}) {
    const auto more = with_length(wire::as_bytes(text));
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    DnsStream stream(512);
    std::string all;
    for (const auto part : {wire::ByteView(bytes).first(cut), wire::ByteView(bytes).subspan(cut)}) {
      CHECK(stream.feed(part));
      for (auto text = taken(stream); text != "(none)"; text = taken(stream)) all += text + ";";
    }
    CHECK(all == "first;;third;");
  }
}

TEST_CASE("dns stream: a message that is too long ends it") {
  DnsStream stream(512);
  CHECK(stream.feed(wire::as_bytes(std::string_view("\x02\x00", 2))));
  DnsStream other(512);
  CHECK_FALSE(other.feed(wire::as_bytes(std::string_view("\x02\x01", 2))));
  CHECK(taken(other) == "(none)");
  // Also behind others.
  DnsStream third(512);
  CHECK(third.feed(wire::as_bytes(std::string_view("\x00\x01x\xff\xff", 5))));
  CHECK(taken(third) == "x");
  CHECK(taken(third) == "(none)");
  CHECK_FALSE(third.feed(wire::as_bytes("y")));
}
