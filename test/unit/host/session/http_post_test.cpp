#include "host/session/http_post.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <thread>

#include "sys/socket.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

constexpr std::string_view kWhat = "hook";

ErrorCode head_error(std::string_view head) {
  const auto parsed = parse_http_head(head);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().message.find('\r') == std::string::npos);
  return parsed.error().code;
}

// What an app sends that hangs up, or does not, after it.
Result<HttpAnswer> answer_to(const std::string& bytes, bool hang_up = true,
                             std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  auto pair = sys::stream_pair();
  REQUIRE(pair);
  std::jthread app([&, fd = pair->second.get()] {
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (hang_up) ::shutdown(fd, SHUT_WR);
  });
  return http_post(pair->first.get(), {80, "/x", "{}"}, Limits({}, limit), kWhat);
}

}  // namespace

TEST_CASE("http post: heads that are HTTP") {
  const auto plain = parse_http_head("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 12\r\n\r\n");
  REQUIRE(plain);
  CHECK(plain->status == 200);
  CHECK(plain->body_bytes == 12);
  CHECK_FALSE(plain->chunked);
  CHECK(parse_http_head("HTTP/1.0 503\r\n\r\n")->status == 503);
  CHECK(parse_http_head("HTTP/1.1 404 \r\nEmpty:\r\n\r\n")->status == 404);
  CHECK(parse_http_head("HTTP/1.1 200 \xc3\xbc\r\ntransfer-encoding:\tChunked \r\n\r\n")->chunked);
  CHECK(parse_http_head("HTTP/1.1 200 A\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\n"));
}

TEST_CASE("http post: heads that are not") {
  using namespace std::string_view_literals;
  for (const auto head :
       {""sv,
        "\r\n\r\n"sv,
        "HTTP/1.1 200 OK"sv,
        "HTTP/1.1 200 OK\r\n"sv,
        "HTTP/1.1 200 OK\n\n"sv,
        "HTTP/2 200 OK\r\n\r\n"sv,
        "HTTP/1.2 200 OK\r\n\r\n"sv,
        "HTTP/1.1 20 OK\r\n\r\n"sv,
        "HTTP/1.1  200 OK\r\n\r\n"sv,
        "HTTP/1.1 2000 OK\r\n\r\n"sv,
        "HTTP/1.1 +20 OK\r\n\r\n"sv,
        "HTTP/1.1 099 OK\r\n\r\n"sv,
        "HTTP/1.1 600 OK\r\n\r\n"sv,
        "HTTP/1.1 200 O\0K\r\n\r\n"sv,
        "http/1.1 200 OK\r\n\r\n"sv,
        "SSH-2.0-OpenSSH_9.2\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\n: no name\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nspace : x\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nA: a\nB: b\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nContent-Length: 1 2\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"sv,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"sv}) {
    CAPTURE(head);
    CHECK(head_error(head) == ErrorCode::protocol);
  }
}

TEST_CASE("http post: the request is one an app can read") {
  auto pair = sys::stream_pair();
  REQUIRE(pair);
  std::string request;
  std::jthread app([&, fd = pair->second.get()] {
    char buffer[4096];
    while (!request.ends_with("{\"a\":1}")) {
      const auto got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      request.append(buffer, static_cast<size_t>(got));
    }
    constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    ::send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
  });
  const auto answer =
      http_post(pair->first.get(), {8081, "/up/run", "{\"a\":1}"}, Limits({}), kWhat);
  REQUIRE(answer);
  CHECK(answer->status == 200);
  CHECK(request ==
        "POST /up/run HTTP/1.1\r\nHost: localhost:8081\r\nContent-Type: application/json\r\n"
        "Content-Length: 7\r\nConnection: close\r\n\r\n{\"a\":1}");
}

TEST_CASE("http post: the first line of the body is cleaned and cut") {
  const std::string head = "HTTP/1.1 500 No\r\n\r\n";
  CHECK(answer_to(head)->first_line.empty());
  CHECK(answer_to(head + "no disk\nmore")->first_line == "no disk");
  CHECK(answer_to(head + "a\x1b[31m\xff")->first_line == "a?[31m?");
  CHECK(answer_to(head + std::string(1000, 'x'))->first_line == std::string(200, 'x') + "...");
  const std::string chunked = "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n";
  CHECK(answer_to(chunked + "2\r\nno\r\n0\r\n\r\n", false)->first_line == "no");
  CHECK(answer_to(chunked)->first_line.empty());
  CHECK(answer_to(chunked + "2")->first_line.empty());
}

TEST_CASE("http post: the status decides, whatever becomes of the body") {
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
  CHECK(answer_to(head + "short")->status == 200);
  CHECK(answer_to(head + std::string(2 * kMaxHttpBodyBytes, 'x'), false)->status == 200);
  const auto begin = Limits::Clock::now();
  CHECK(answer_to("HTTP/1.1 200 OK\r\n\r\n", false)->status == 200);
  CHECK(Limits::Clock::now() - begin < std::chrono::seconds(10));
}

TEST_CASE("http post: answers that are cut off, too long, or never come") {
  for (const std::string bytes : {"", "HTTP", "HTTP/1.1 200 OK\r\nA: b\r\n", "garbage\r\n\r\n"}) {
    CAPTURE(bytes);
    CHECK(answer_to(bytes).error().code == ErrorCode::protocol);
  }
  const std::string head = "HTTP/1.1 200 OK\r\nA: ";
  CHECK(answer_to(head + std::string(kMaxHttpHeadBytes, 'x') + "\r\n\r\n").error().code ==
        ErrorCode::protocol);
  CHECK(answer_to(std::string(4 * kMaxHttpHeadBytes, 'x'), false).error().code ==
        ErrorCode::protocol);
  CHECK(answer_to(head, false, std::chrono::milliseconds(50)).error().code ==
        ErrorCode::deadline_exceeded);
}
