#include "net/names/domain_name.hpp"

#include <doctest/doctest.h>

using namespace microvm::net;

TEST_CASE("domain name: what is brought to the one form, and what is none") {
  const std::string label(63, 'a');
  const std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  struct Row {
    std::string text;
    std::string name;  // empty: refused
  };
  const Row rows[] = {
      {"example.org", "example.org"},
      {"EXAMPLE.Org", "example.org"},
      {"example.org.", "example.org"},
      {"_dmarc.a-b.example.org", "_dmarc.a-b.example.org"},
      {"XN--Bcher-KVA.example", "xn--bcher-kva.example"},
      {"localhost", "localhost"},
      {longest, longest},
      {longest + ".", longest},
      {longest + "b", ""},
      {label + "a.org", ""},
      {"", ""},
      {".", ""},
      {"..", ""},
      {".example.org", ""},
      {"example..org", ""},
      {"example.org..", ""},
      {"b\xc3\xbc"
       "cher.example",
       ""},
      {"exa mple.org", ""},
      {"example.org\r", ""},
      {std::string("example.org\0.evil.org", 21), ""},
      {"user@example.org", ""},
      {"*.example.org", ""},
      {"example.org:80", ""},
      {"example.org/", ""},
      {"example\xe3\x80\x82org", ""},  // the ideographic full stop
      {"example.org%2eevil", ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK(canonical_name(row.text).value_or("") == row.name);
  }
}

TEST_CASE("domain name: what would be taken for an address") {
  for (const char* text :
       {"1.2.3.4", "127.1", "2130706433", "0x7f.1", "1.0x7f", "017700000001", "a.1", "0x"}) {
    CAPTURE(text);
    CHECK(is_address_literal(text));
  }
  for (const char* text : {"example.org", "1.2.3.4.example", "4chan", "a.0xyz", "1.2.3.4a"}) {
    CAPTURE(text);
    CHECK_FALSE(is_address_literal(text));
  }
}

TEST_CASE("domain name: below a domain") {
  CHECK(is_below("a.example.org", "example.org"));
  CHECK(is_below("a.b.example.org", "example.org"));
  CHECK_FALSE(is_below("example.org", "example.org"));
  CHECK_FALSE(is_below("badexample.org", "example.org"));
  CHECK_FALSE(is_below(".example.org", "example.org"));
  CHECK_FALSE(is_below("example.org", "a.example.org"));
  CHECK_FALSE(is_below("a.example.org", "org.example"));
}
