#include "host/session/http_post.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "host/base/printable.hpp"

namespace microvm::host {
namespace {

constexpr size_t kMaxLineBytes = 200;
constexpr std::string_view kHeadEnd = "\r\n\r\n";
// The status has decided already. An app that is slow with the rest, or keeps the stream open after
// it, is not waited for.
constexpr std::chrono::seconds kBodyPatience{1};

base::Failure malformed(const std::string& problem) {
  return base::fail(ErrorCode::protocol, "the app's answer is not HTTP: " + problem);
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

bool same_word(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}

// RFC 9110 §5.6.2
bool is_token(std::string_view text) {
  constexpr std::string_view kSigns = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    const char l = lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || kSigns.find(c) != kSigns.npos;
  });
}

bool is_field_value(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return c == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

template <class T>
std::optional<T> parse_digits(std::string_view text) {
  T number = 0;
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "HTTP/1.1 200 OK"; the last space and the text after it are often left out.
std::optional<unsigned> parse_status_line(std::string_view line) {
  constexpr std::string_view kVersion = "HTTP/1.";
  constexpr size_t kStatusAt = 9;
  constexpr size_t kStatusEnd = 12;
  if (!line.starts_with(kVersion) || line.size() < kStatusEnd || line[8] != ' ') return {};
  if (line[7] != '0' && line[7] != '1') return {};
  if (!is_field_value(line) || (line.size() > kStatusEnd && line[kStatusEnd] != ' ')) return {};
  const auto status = parse_digits<unsigned>(line.substr(kStatusAt, kStatusEnd - kStatusAt));
  return status && *status >= 100 && *status <= 599 ? status : std::nullopt;
}

Result<void> parse_field(std::string_view line, HttpHead& head) {
  const size_t colon = line.find(':');
  if (colon == line.npos || !is_token(line.substr(0, colon))) return malformed("a field's name");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (!is_field_value(value)) return malformed("a field's value");
  if (same_word(name, "content-length")) {
    const auto bytes = parse_digits<uint64_t>(value);
    if (!bytes || head.body_bytes.value_or(*bytes) != *bytes) return malformed("its length");
    head.body_bytes = bytes;
  }
  if (same_word(name, "transfer-encoding")) {
    if (!same_word(value, "chunked")) return malformed("an encoding nobody asked for");
    head.chunked = true;
  }
  return {};
}

Result<void> send_all(int stream, std::string_view bytes, const Limits& limits,
                      std::string_view what) {
  while (!bytes.empty()) {
    const auto sent = ::send(stream, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return {};  // it may have answered before it closed
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (auto ready = limits.wait(stream, POLLOUT, what); !ready) return ready;
    } else if (errno != EINTR) {
      return base::fail_errno(std::string(what) + ": send");
    }
  }
  return {};
}

// Appends what comes next. False: nothing more comes.
Result<bool> read_more(int stream, std::string& to, const Limits& limits, std::string_view what) {
  std::array<char, 4096> piece;
  for (;;) {
    const auto got = ::recv(stream, piece.data(), piece.size(), MSG_DONTWAIT);
    if (got > 0) {
      to.append(piece.data(), static_cast<size_t>(got));
      return true;
    }
    if (got == 0 || errno == ECONNRESET || errno == EPIPE) return false;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (auto ready = limits.wait(stream, POLLIN, what); !ready) return base::fail(ready.error());
    } else if (errno != EINTR) {
      return base::fail_errno(std::string(what) + ": recv");
    }
  }
}

// The size of the head at the beginning of `bytes`, which gets all of it and what came with it.
Result<size_t> read_head(int stream, std::string& bytes, const Limits& limits,
                         std::string_view what) {
  size_t searched = 0;
  for (;;) {
    const size_t end = bytes.find(kHeadEnd, searched);
    const size_t size = end == bytes.npos ? bytes.size() : end + kHeadEnd.size();
    if (size > kMaxHttpHeadBytes) return malformed("more than 16 KiB of fields");
    if (end != bytes.npos) return size;
    searched = bytes.size() - std::min(bytes.size(), kHeadEnd.size() - 1);
    // A slow sender is cut off by the limits, a fast one that never waits is as well.
    if (auto ok = limits.check(what); !ok) return base::fail(ok.error());
    const auto more = read_more(stream, bytes, limits, what);
    if (!more) return base::fail(more.error());
    if (!*more && bytes.empty()) {
      return base::fail(ErrorCode::protocol, "the app closed the connection without an answer");
    }
    if (!*more) return malformed("it ends in the middle");
  }
}

bool is_whole(const HttpHead& head, std::string_view body) {
  if (body.size() >= kMaxHttpBodyBytes) return true;
  if (head.chunked) return body.ends_with("0\r\n\r\n");
  return head.body_bytes && body.size() >= *head.body_bytes;
}

std::string first_line(const HttpHead& head, std::string_view body) {
  if (head.chunked) {  // what stands before it is the size of the first piece
    const size_t end = body.find("\r\n");
    body.remove_prefix(end == body.npos ? body.size() : end + 2);
  }
  return printable(body.substr(0, body.find_first_of("\r\n")), kMaxLineBytes);
}

}  // namespace

Result<HttpHead> parse_http_head(std::string_view head) {
  if (!head.ends_with(kHeadEnd)) return malformed("it ends in the middle");
  head.remove_suffix(2);
  const size_t first = head.find("\r\n");
  const auto status = parse_status_line(head.substr(0, first));
  if (!status) return malformed("its first line");
  HttpHead parsed{.status = *status, .body_bytes = {}, .chunked = false};
  for (size_t at = first + 2; at < head.size();) {
    const size_t end = head.find("\r\n", at);
    if (auto ok = parse_field(head.substr(at, end - at), parsed); !ok) {
      return base::fail(ok.error());
    }
    at = end + 2;
  }
  if (parsed.chunked && parsed.body_bytes) return malformed("its length");
  return parsed;
}

Result<HttpAnswer> http_post(int stream, const HttpPost& request, const Limits& limits,
                             std::string_view what) {
  const std::string bytes =
      "POST " + request.path + " HTTP/1.1\r\nHost: localhost:" + std::to_string(request.port) +
      "\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(request.body.size()) + "\r\nConnection: close\r\n\r\n" + request.body;
  if (auto sent = send_all(stream, bytes, limits, what); !sent) return base::fail(sent.error());
  std::string body;
  const auto head_bytes = read_head(stream, body, limits, what);
  if (!head_bytes) return base::fail(head_bytes.error());
  const auto head = parse_http_head(std::string_view(body).substr(0, *head_bytes));
  if (!head) return base::fail(head.error());
  body.erase(0, *head_bytes);
  const Limits patience = limits.within(kBodyPatience);
  while (!is_whole(*head, body) && patience.check(what)) {
    if (const auto more = read_more(stream, body, patience, what); !more || !*more) break;
  }
  return HttpAnswer{head->status, first_line(*head, body)};
}

}  // namespace microvm::host
