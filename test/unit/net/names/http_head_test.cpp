#include "net/names/http_head.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::net;
using Kind = ShownName::Kind;

namespace {

struct HttpRow {
  std::string head;
  Kind kind;
  std::string name;
};

ShownName read_at_once(const std::string& head) {
  HttpHead reader;
  (void)reader.feed(wire::as_bytes(head));
  return reader.shown();
}

ShownName read_by_bytes(const std::string& head) {
  HttpHead reader;
  for (const char& byte : head) (void)reader.feed(wire::as_bytes({&byte, 1}));
  return reader.shown();
}

void check(const HttpRow& row) {
  CAPTURE(row.head);
  for (const ShownName& shown : {read_at_once(row.head), read_by_bytes(row.head)}) {
    CHECK(shown.kind == row.kind);
    CHECK(shown.name == row.name);
  }
}

HttpHead::Body body_of(const std::string& head) {
  HttpHead reader;
  CHECK(reader.feed(wire::as_bytes(head + "behind")) == head.size());
  CHECK(reader.shown().kind == Kind::name);
  return reader.body();
}

}  // namespace

TEST_CASE("http head: the name of a request") {
  const HttpRow rows[] = {
      {"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", Kind::name, "example.org"},
      {"GET / HTTP/1.1\r\nhOST:\t EXAMPLE.org. \t\r\n\r\n", Kind::name, "example.org"},
      {"GET / HTTP/1.1\r\nA: b\r\nHost: example.org:8080\r\nC: d\r\n\r\n", Kind::name,
       "example.org"},
      {"POST /a?b=c HTTP/1.0\r\nHost: example.org:\r\n\r\n", Kind::name, "example.org"},
      {"BREW / HTTP/1.1\r\nHost: example.org\r\n\r\n", Kind::name, "example.org"},
      {"OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n", Kind::name, "example.org"},
      {"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n", Kind::name, "example.org"},
      {"GET HTTP://Example.ORG:80?a HTTP/1.1\r\nHost: example.org:80\r\n\r\n", Kind::name,
       "example.org"},
      {"GET https://example.org HTTP/1.0\r\n\r\n", Kind::name, "example.org"},
      {"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", Kind::name,
       "example.org"},
      {"GET / HTTP/1.1\r\nHost: example.org\r\n\r\nGET / HTTP/1.1\r\nHost: other.org\r\n\r\n",
       Kind::name, "example.org"},
  };
  for (const HttpRow& row : rows) check(row);
}

TEST_CASE("http head: requests without a name") {
  for (const char* host : {"", "Host:\r\n", "Host: 93.184.216.34\r\n", "Host: 0x7f.1:80\r\n",
                           "Host: [::1]\r\n", "Host: [::1]:80\r\n"}) {
    check({std::string("GET / HTTP/1.1\r\n") + host + "\r\n", Kind::no_name, ""});
  }
  check({"GET / HTTP/1.0\r\n\r\n", Kind::no_name, ""});
}

TEST_CASE("http head: what servers could read differently") {
  const std::string get = "GET / HTTP/1.1\r\n";
  const std::string host = "Host: example.org\r\n";
  const std::string rows[] = {
      get + host + host + "\r\n",
      get + host + "Host: other.org\r\n\r\n",
      get + "Host: example.org, other.org\r\n\r\n",
      get + "Host: user@example.org\r\n\r\n",
      get + "Host: example.org:80:80\r\n\r\n",
      get + "Host: example.org:http\r\n\r\n",
      get + "Host: example.org:99999\r\n\r\n",
      get + "Host: exa mple.org\r\n\r\n",
      get +
          "Host: b\xc3\xbc"
          "cher.example\r\n\r\n",
      get + "Host: [::1\r\n\r\n",
      get + "Host: [::1]a\r\n\r\n",
      get + "Host : example.org\r\n\r\n",
      get + " Host: example.org\r\n\r\n",
      get + "A: b\r\n folded\r\n" + host + "\r\n",
      get + "no colon\r\n" + host + "\r\n",
      get + ": empty\r\n" + host + "\r\n",
      get + "Host: example.org\n\r\n",
      get + "A: b\rHost: other.org\r\n" + host + "\r\n",
      get + std::string("A: \0\r\n", 6) + host + "\r\n",
      get + host + "\n",
      "GET / HTTP/1.1\n" + host + "\r\n",
      "GET / HTTP/2.0\r\n" + host + "\r\n",
      "GET / http/1.1\r\n" + host + "\r\n",
      "GET / HTTP/1.1 \r\n" + host + "\r\n",
      "GET  / HTTP/1.1\r\n" + host + "\r\n",
      "GET /a b HTTP/1.1\r\n" + host + "\r\n",
      "GET /a\tb HTTP/1.1\r\n" + host + "\r\n",
      "GET\t/ HTTP/1.1\r\n" + host + "\r\n",
      "GET /\r\n",
      "get /\n",
      "GET\r\n",
      "\r\nGET / HTTP/1.1\r\n" + host + "\r\n",
      " GET / HTTP/1.1\r\n" + host + "\r\n",
      "GET http://other.org/ HTTP/1.1\r\n" + host + "\r\n",
      "GET http://93.184.216.34/ HTTP/1.1\r\n" + host + "\r\n",
      "GET http:/// HTTP/1.1\r\n" + host + "\r\n",
      "GET http://example.org@other.org/ HTTP/1.1\r\n" + host + "\r\n",
      "GET http://example.org\\@other.org HTTP/1.1\r\nHost: other.org\r\n\r\n",
      "GET ftp://example.org/ HTTP/1.1\r\n" + host + "\r\n",
      "GET example.org HTTP/1.1\r\n" + host + "\r\n",
      "CONNECT other.org:443 HTTP/1.1\r\n" + host + "\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      get + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
      get + host + "Content-Length: 1, 1\r\n\r\n",
      get + host + "Content-Length: +1\r\n\r\n",
      get + host + "Content-Length: 18446744073709551616\r\n\r\n",
      get + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      get + host + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
      get + host + "Transfer-Encoding: gzip, chunked\r\n\r\n",
      get + host + "Transfer-Encoding: xchunked\r\n\r\n",
      "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n",
      get + host + "Upgrade: h2c\r\n\r\n",
      get + host + "Upgrade: websocket\r\nContent-Length: 5\r\n\r\n",
      get + "A: " + std::string(kMaxNameBytesOfFlow, 'a'),
      "GET /" + std::string(kMaxNameBytesOfFlow, 'a'),
  };
  for (const std::string& row : rows) check({row, Kind::undecidable, ""});
}

TEST_CASE("http head: other protocols are seen by what can not be HTTP") {
  const std::string rows[] = {
      "SSH-2.0-OpenSSH_9.2\r\n",
      "EHLO guest.example\r\n",
      "*1\r\n$4\r\nPING\r\n",
      "PING\r\n",
      std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8),
      "NICK somebody\r\n",
      "{\"json\": 1}",
      std::string(40, 'x'),
  };
  for (const std::string& row : rows) check({row, Kind::other_protocol, ""});
}

TEST_CASE("http head: it waits as long as it may still become one") {
  const std::string head = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
  for (size_t cut = 0; cut < head.size(); ++cut) {
    CAPTURE(cut);
    CHECK(read_at_once(head.substr(0, cut)).kind == Kind::more);
  }
}

TEST_CASE("http head: where the request ends") {
  const std::string get = "GET / HTTP/1.1\r\nHost: example.org\r\n";
  using Form = HttpHead::Body::Form;
  CHECK(body_of(get + "\r\n").form == Form::sized);
  CHECK(body_of(get + "\r\n").bytes == 0);
  CHECK(body_of(get + "Content-Length: 12\r\n\r\n").bytes == 12);
  CHECK(body_of(get + "Transfer-Encoding: Chunked\r\n\r\n").form == Form::chunked);
  CHECK(body_of(get + "Upgrade: WebSocket\r\n\r\n").form == Form::tunnel);
  CHECK(body_of("CONNECT example.org:443 HTTP/1.1\r\n\r\n").form == Form::tunnel);
}
