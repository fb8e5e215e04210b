#include "net/names/flow_name.hpp"

#include <doctest/doctest.h>

#include "made_hello.hpp"

using namespace microvm;
using namespace microvm::net;
using namespace microvm::test;
using Kind = ShownName::Kind;

namespace {

ShownName feed_in_steps(wire::ByteView bytes, size_t step) {
  FlowName flow;
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(step, bytes.size()));
    (void)flow.feed(part);
    bytes = bytes.subspan(part.size());
  }
  return flow.shown();
}

}  // namespace

TEST_CASE("flow name: TLS and HTTP are told apart by their first byte") {
  const wire::Bytes hello = hello_for("tls.example.org");
  const auto request = wire::as_bytes("GET / HTTP/1.1\r\nHost: http.example.org\r\n\r\n");
  for (const size_t step : {1, 3, 1000}) {
    CHECK(feed_in_steps(hello, step).name == "tls.example.org");
    CHECK(feed_in_steps(request, step).name == "http.example.org");
  }
  CHECK(feed_in_steps(wire::as_bytes("SSH-2.0-x\r\n"), 2).kind == Kind::other_protocol);
  CHECK(FlowName().feed({}).kind == Kind::more);
}

TEST_CASE("flow name: what the name covers") {
  const std::string request = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
  FlowName http;
  (void)http.feed(wire::as_bytes(request.substr(0, 30)));
  CHECK(http.covered() == 0);
  CHECK_FALSE(http.covers_all());
  (void)http.feed(wire::as_bytes(request.substr(30) + request));
  CHECK(http.covered() == 2 * request.size());
  CHECK_FALSE(http.covers_all());
  CHECK_FALSE(http.has_others());
  (void)http.feed(wire::as_bytes("GET / HTTP/1.1\r\nHost: other.org\r\n\r\n"));
  CHECK(http.covered() == 2 * request.size());
  CHECK(http.has_others());
  CHECK(http.shown().name == "example.org");
  FlowName tls;
  (void)tls.feed(hello_for("example.org"));
  CHECK(tls.covers_all());
  FlowName other;
  (void)other.feed(wire::as_bytes("SSH-2.0-x\r\n"));
  CHECK(other.covers_all());
}

TEST_CASE("flow name: a decision stays, whatever comes behind") {
  FlowName flow;
  (void)flow.feed(hello_for("example.org"));
  (void)flow.feed(hello_for("other.org"));
  CHECK(flow.shown().name == "example.org");
}
