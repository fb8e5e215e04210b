#include "net/names/http_head.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "net/names/domain_name.hpp"

namespace microvm::net {
namespace {

using Kind = ShownName::Kind;

constexpr size_t kMaxMethodBytes = 32;
constexpr std::string_view kWhitespace = " \t\r\n\v\f";
constexpr std::array<std::string_view, 10> kMethods{
    "get", "head", "post", "put", "delete", "options", "patch", "trace", "connect", "pri"};

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& byte : lower) {
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<char>(byte - 'A' + 'a');
  }
  return lower;
}

// RFC 9110 §5.6.2
bool is_token_byte(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9') ||
         (byte != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(byte) != std::string_view::npos);
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_byte);
}

bool is_known_method(std::string_view method) {
  return std::find(kMethods.begin(), kMethods.end(), lower_case(method)) != kMethods.end();
}

// A server may find the method, or the version, where we see another protocol.
bool looks_like_http(std::string_view line) {
  return is_known_method(line.substr(0, line.find(' '))) ||
         lower_case(line).find(" http/") != std::string::npos;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool has_controls(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) < 0x20 && byte != '\t') || byte == 0x7f;
  });
}

template <class Number>
std::optional<Number> read_number(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool is_port(std::string_view text) {
  return text.empty() || read_number<uint16_t>(text).has_value();
}

ShownName of(Kind kind) {
  return {.kind = kind, .name = {}};
}

ShownName read_bracketed(std::string_view authority) {
  const size_t end = authority.find(']');
  if (end == std::string_view::npos) return of(Kind::undecidable);
  const std::string_view rest = authority.substr(end + 1);
  const bool is_sound = rest.empty() || (rest[0] == ':' && is_port(rest.substr(1)));
  return of(is_sound ? Kind::no_name : Kind::undecidable);
}

// host[:port], RFC 9110 §7.2. One with a user before it, or several, are no canonical name.
ShownName read_authority(std::string_view authority) {
  if (authority.empty()) return of(Kind::no_name);
  if (authority[0] == '[') return read_bracketed(authority);
  const size_t colon = authority.find(':');
  if (colon != std::string_view::npos && !is_port(authority.substr(colon + 1))) {
    return of(Kind::undecidable);
  }
  auto name = canonical_name(authority.substr(0, colon));
  if (!name) return of(Kind::undecidable);
  if (is_address_literal(*name)) return of(Kind::no_name);
  return {.kind = Kind::name, .name = std::move(*name)};
}

std::optional<std::string_view> authority_of_url(std::string_view target) {
  const std::string lower = lower_case(target.substr(0, 8));
  const size_t begin = lower == "https://" ? 8 : lower.starts_with("http://") ? 7 : 0;
  if (begin == 0) return std::nullopt;
  target.remove_prefix(begin);
  return target.substr(0, target.find_first_of("/?#\\"));
}

}  // namespace

size_t HttpHead::feed(wire::ByteView bytes) {
  size_t taken = 0;
  while (taken < bytes.size() && !shown_.is_decided()) {
    take_byte(static_cast<char>(bytes[taken++]));
    if (++fed_ >= kMaxNameBytesOfFlow && !shown_.is_decided()) decide(Kind::undecidable);
  }
  return taken;
}

void HttpHead::take_byte(char byte) {
  line_ += byte;
  if (!has_request_line_ && !method_ended_) return take_byte_of_request_line(byte);
  if (byte == '\n') take_line();
}

// Of the method: what can be no method is another protocol, and that is seen at once, for its
// server may wait for the rest of what it never gets.
void HttpHead::take_byte_of_request_line(char byte) {
  if (line_.size() == 1 && kWhitespace.find(byte) != std::string_view::npos) {
    return decide(Kind::undecidable);  // some servers pass over it
  }
  if (is_token_byte(byte)) {
    if (line_.size() > kMaxMethodBytes) decide(Kind::other_protocol);
    return;
  }
  const std::string_view method = std::string_view(line_).substr(0, line_.size() - 1);
  if (byte == ' ' && !method.empty()) {
    method_ended_ = true;
    return;
  }
  decide(is_known_method(method) ? Kind::undecidable : Kind::other_protocol);
}

void HttpHead::take_line() {
  const bool is_first = !has_request_line_;
  const bool is_ended_right = line_.ends_with("\r\n");
  line_.resize(line_.size() - (is_ended_right ? 2 : 1));
  if (is_first && !looks_like_http(line_)) return decide(Kind::other_protocol);
  if (!is_ended_right || has_controls(line_)) return decide(Kind::undecidable);
  if (is_first) {
    read_request_line();
  } else if (line_.empty()) {
    finish();
  } else {
    read_field();
  }
  line_.clear();
}

void HttpHead::read_request_line() {
  const std::string_view line = line_;
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == last) return decide(Kind::undecidable);
  method_ = line.substr(0, first);
  target_ = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  is_http_1_0_ = version == "HTTP/1.0";
  if (!is_http_1_0_ && version != "HTTP/1.1") return decide(Kind::undecidable);
  if (target_.empty() || target_.find_first_of(kWhitespace) != std::string::npos) {
    return decide(Kind::undecidable);
  }
  has_request_line_ = true;
}

// A folded line begins with a space, which is in no name of a field.
void HttpHead::read_field() {
  const std::string_view line = line_;
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return decide(Kind::undecidable);
  }
  keep_field(lower_case(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
}

// Twice the same field that counts, or a length beside chunks: two servers may see two requests.
void HttpHead::keep_field(std::string_view name, std::string_view value) {
  if (name == "host") {
    if (host_) return decide(Kind::undecidable);
    host_ = value;
  } else if (name == "content-length") {
    if (content_length_ || is_chunked_) return decide(Kind::undecidable);
    content_length_ = read_number<uint64_t>(value);
    if (!content_length_) decide(Kind::undecidable);
  } else if (name == "transfer-encoding") {
    if (content_length_ || is_chunked_ || is_http_1_0_ || lower_case(value) != "chunked") {
      return decide(Kind::undecidable);
    }
    is_chunked_ = true;
  } else if (name == "upgrade") {
    wants_upgrade_ = true;
    if (lower_case(value) != "websocket") decide(Kind::undecidable);
  }
}

void HttpHead::finish() {
  if (is_chunked_) body_.form = Body::Form::chunked;
  body_.bytes = content_length_.value_or(0);
  if (wants_upgrade_ || method_ == "CONNECT") {
    if (is_chunked_ || body_.bytes != 0) return decide(Kind::undecidable);
    body_.form = Body::Form::tunnel;
  }
  shown_ = name_of_target();
}

// The name in the target counts for those who look at it, Host for the others (RFC 9112 §3.2.2).
ShownName HttpHead::name_of_target() const {
  const ShownName host = read_authority(host_.value_or(""));
  if (target_[0] == '/' || target_ == "*") return host;
  const auto authority = method_ == "CONNECT" ? target_ : authority_of_url(target_);
  if (!authority || authority->empty()) return of(Kind::undecidable);
  const ShownName named = read_authority(*authority);
  if (!host_) return named;
  const bool is_same = named.kind == host.kind && named.name == host.name;
  return is_same ? named : of(Kind::undecidable);
}

}  // namespace microvm::net
