#include "net/names/http_requests.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::net;
using Kind = ShownName::Kind;

namespace {

const std::string kGet = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
const std::string kEvil = "GET / HTTP/1.1\r\nHost: evil.org\r\n\r\n";

std::string post(const std::string& fields, const std::string& body) {
  return "POST / HTTP/1.1\r\nHost: example.org\r\n" + fields + "\r\n" + body;
}

std::string chunked(const std::string& body) {
  return post("Transfer-Encoding: chunked\r\n", body);
}

struct StreamRow {
  const char* what;
  std::string bytes;
  size_t may_go;
  bool is_refused;
};

void check_stream(const StreamRow& row) {
  CAPTURE(row.what);
  HttpRequests whole;
  CHECK(whole.feed(wire::as_bytes(row.bytes)) == row.may_go);
  CHECK(whole.is_refused() == row.is_refused);
  HttpRequests in_bytes;
  uint64_t may_go = 0;
  for (const char& byte : row.bytes) {
    const uint64_t now = in_bytes.feed(wire::as_bytes({&byte, 1}));
    CHECK(now >= may_go);
    may_go = now;
  }
  CHECK(may_go == row.may_go);
  CHECK(in_bytes.is_refused() == row.is_refused);
}

}  // namespace

TEST_CASE("http requests: one after another for the same name") {
  const std::string sized = post("Content-Length: 5\r\n", "12345");
  const std::string chunks =
      chunked("3\r\nabc\r\n1f;a=b\r\n" + std::string(31, 'x') + "\r\n0\r\n\r\n");
  const std::string trailers = chunked("0\r\nA: b\r\nC: d\r\n\r\n");
  const std::string body_is_request =
      post("Content-Length: " + std::to_string(kEvil.size()) + "\r\n", kEvil);
  const StreamRow rows[] = {
      {"one", kGet, kGet.size(), false},
      {"two", kGet + kGet, 2 * kGet.size(), false},
      {"a body", sized + kGet, sized.size() + kGet.size(), false},
      {"chunks", chunks + kGet, chunks.size() + kGet.size(), false},
      {"trailers", trailers + kGet, trailers.size() + kGet.size(), false},
      {"a body that looks like a request", body_is_request + kGet,
       body_is_request.size() + kGet.size(), false},
      {"a body that is not whole", sized.substr(0, sized.size() - 2), sized.size() - 2, false},
      {"a head that is not whole", kGet + "GET / HT", kGet.size(), false},
      {"nothing", "", 0, false},
  };
  for (const StreamRow& row : rows) check_stream(row);
}

TEST_CASE("http requests: one for another name, or none that can be read, ends it") {
  const std::string sized = post("Content-Length: 5\r\n", "12345");
  const std::string chunks = chunked("3\r\nabc\r\n0\r\n\r\n");
  const std::string open_chunk = chunked("3\r\nabc");
  const StreamRow rows[] = {
      {"behind one", kGet + kEvil, kGet.size(), true},
      {"behind a body", sized + kEvil, sized.size(), true},
      {"behind chunks", chunks + kEvil, chunks.size(), true},
      {"without a name", kGet + "GET / HTTP/1.0\r\n\r\n", kGet.size(), true},
      {"another protocol", kGet + "SSH-2.0\r\n", kGet.size(), true},
      {"an empty line between", kGet + "\r\n" + kGet, kGet.size(), true},
      {"HTTP/2", kGet + "PRI * HTTP/2.0\r\n\r\n", kGet.size(), true},
      {"a chunk that is longer than it says", open_chunk + "d\r\n", open_chunk.size(), true},
      {"at once", "SSH-2.0\r\n", 0, true},
  };
  for (const StreamRow& row : rows) check_stream(row);
  for (const char* size : {"\r\n", "x\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", "1 \r\n", "1\n",
                           "ffffffffffffffff\r\n", "10000000000000000\r\n", "1\r2\r\n"}) {
    CAPTURE(size);
    HttpRequests requests;
    (void)requests.feed(wire::as_bytes(chunked(size)));
    CHECK(requests.is_refused());
  }
}

TEST_CASE("http requests: lines without end are not waited for") {
  HttpRequests size;
  (void)size.feed(wire::as_bytes(chunked("1;" + std::string(1000, 'a'))));
  CHECK(size.is_refused());
  HttpRequests trailer;
  std::string lines = "0\r\n";
  for (int i = 0; i < 2000; ++i) lines += "A: b\r\n";
  (void)trailer.feed(wire::as_bytes(chunked(lines)));
  CHECK(trailer.is_refused());
}

TEST_CASE("http requests: another protocol after an upgrade, if the server took it") {
  const std::string upgrade = "GET / HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n\r\n";
  HttpRequests taken;
  CHECK(taken.feed(wire::as_bytes(upgrade)) == upgrade.size());
  CHECK_FALSE(taken.is_tunnel());
  CHECK(taken.feed(wire::as_bytes("\x81\x85" + kEvil)) == upgrade.size() + 2 + kEvil.size());
  CHECK(taken.is_tunnel());
  check_stream({"not taken", upgrade + kGet, upgrade.size() + kGet.size(), false});
  check_stream({"not taken, another name", upgrade + kEvil, upgrade.size(), true});
}

TEST_CASE("http requests: the name is that of the first") {
  HttpRequests requests;
  CHECK(requests.feed(wire::as_bytes(kGet.substr(0, 20))) == 0);
  CHECK(requests.shown().kind == Kind::more);
  (void)requests.feed(wire::as_bytes(kGet.substr(20)));
  CHECK(requests.shown().name == "example.org");
  (void)requests.feed(wire::as_bytes(kEvil));
  CHECK(requests.shown().name == "example.org");
}
