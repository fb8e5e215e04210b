#include "net/names/client_hello.hpp"

#include <doctest/doctest.h>

#include "made_hello.hpp"

using namespace microvm;
using namespace microvm::net;
using namespace microvm::test;
using Kind = ShownName::Kind;

namespace {

ShownName read(wire::ByteView bytes) {
  return ClientHello().feed(bytes);
}

wire::Bytes hello_with(const wire::Bytes& extensions) {
  return records(handshake(hello_body(extensions)));
}

wire::Bytes text(std::string_view bytes) {
  const auto view = wire::as_bytes(bytes);
  return {view.begin(), view.end()};
}

// As many bytes as a hello's length can promise.
wire::Bytes endless_hello(size_t promised) {
  wire::Bytes message{std::byte{1}, static_cast<std::byte>(promised >> 16),
                      static_cast<std::byte>(promised >> 8), static_cast<std::byte>(promised)};
  message.resize(40'000);
  return records(message, 1000);
}

}  // namespace

TEST_CASE("client hello: its name, however the records are cut") {
  for (const size_t fragment : {1, 2, 3, 5, 50, 16'384}) {
    CAPTURE(fragment);
    const ShownName shown = read(hello_for("WWW.Example.ORG", fragment));
    CHECK(shown.kind == Kind::name);
    CHECK(shown.name == "www.example.org");
  }
}

TEST_CASE("client hello: nothing is decided before its last byte, wherever the flow is cut") {
  const wire::Bytes hello = hello_for("example.org", 7);
  for (size_t cut = 0; cut < hello.size(); ++cut) {
    ClientHello reader;
    CHECK(reader.feed(wire::ByteView(hello).first(cut)).kind == Kind::more);
    CHECK(reader.feed(wire::ByteView(hello).subspan(cut)).name == "example.org");
  }
  ClientHello reader;
  for (size_t at = 0; at + 1 < hello.size(); ++at) {
    CHECK(reader.feed(wire::ByteView(hello).subspan(at, 1)).kind == Kind::more);
  }
  CHECK(reader.feed(wire::ByteView(hello).last(1)).kind == Kind::name);
}

TEST_CASE("client hello: what comes behind it counts for nothing") {
  wire::Bytes bytes = hello_for("example.org");
  append(bytes, hello_for("other.org"));
  CHECK(read(bytes).name == "example.org");
}

TEST_CASE("client hello: what shows no name, or not one name") {
  const wire::Bytes two_names = [] {
    return extension(0, sized<uint16_t>(joined({name_entry("a.org"), name_entry("b.org")})));
  }();
  const wire::Bytes other_type = extension(0, sized<uint16_t>(name_entry("a.org", 1)));
  wire::Bytes behind_list = sized<uint16_t>(name_entry("a.org"));
  behind_list.push_back(std::byte{0});
  struct Row {
    const char* what;
    wire::Bytes bytes;
    Kind kind;
  };
  const Row rows[] = {
      {"no extension with a name", hello_with(some_extension()), Kind::no_name},
      {"no extension at all", hello_with({}), Kind::no_name},
      {"an address", hello_with(server_name("93.184.216.34")), Kind::no_name},
      {"two extensions with a name",
       hello_with(joined({server_name("a.org"), server_name("b.org")})), Kind::undecidable},
      {"the same twice", hello_with(joined({server_name("a.org"), server_name("a.org")})),
       Kind::undecidable},
      {"two names in one", hello_with(two_names), Kind::undecidable},
      {"a name of another type", hello_with(other_type), Kind::undecidable},
      {"bytes behind the list of names", hello_with(extension(0, behind_list)), Kind::undecidable},
      {"an empty extension", hello_with(extension(0, {})), Kind::undecidable},
      {"an empty name", hello_with(server_name("")), Kind::undecidable},
      {"a zero in the name", hello_with(server_name(std::string_view("a.org\0.b.org", 12))),
       Kind::undecidable},
      {"bytes that are no ASCII",
       hello_with(server_name("b\xc3\xbc"
                              "cher.example")),
       Kind::undecidable},
      {"a cut extension", hello_with(text(std::string_view("\x00\x00\x00\x09\x00", 5))),
       Kind::undecidable},
      {"another message", records(handshake(hello_body(server_name("a.org")), 2)),
       Kind::undecidable},
      {"an empty record", text(std::string_view("\x16\x03\x01\x00\x00", 5)), Kind::undecidable},
      {"a record that is too long", text("\x16\x03\x01\x40\x01"), Kind::undecidable},
      {"an alert inside",
       joined({text(std::string_view("\x16\x03\x01\x00\x01\x01", 6)),
               text(std::string_view("\x15\x03\x01\x00\x02", 5))}),
       Kind::undecidable},
      {"another major version", text("\x16\x02\x01"), Kind::other_protocol},
      {"a hello of SSL 2", text("\x80\x2e\x01"), Kind::other_protocol},
      {"a length of 16 MiB", endless_hello(0xff'ff'ff), Kind::undecidable},
      {"a length that is never reached", endless_hello(16'384), Kind::undecidable},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    const ShownName shown = read(row.bytes);
    CHECK(shown.kind == row.kind);
    CHECK(shown.name == "");
  }
}

TEST_CASE("client hello: no cut of the message is read as a whole one") {
  const wire::Bytes body = hello_body(server_name("example.org"));
  for (size_t size = 1; size < body.size(); ++size) {
    CAPTURE(size);
    const ShownName shown = read(records(handshake(wire::ByteView(body).first(size))));
    // Without its extensions it is one of before there were any.
    const bool ends_before_extensions = size == 2 + 32 + 33 + 6 + 2;
    CHECK(shown.kind == (ends_before_extensions ? Kind::no_name : Kind::undecidable));
  }
}
