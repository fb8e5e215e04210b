#include "net/names/http_requests.hpp"

#include <algorithm>
#include <charconv>

namespace microvm::net {
namespace {

using Form = HttpHead::Body::Form;

constexpr size_t kMaxLineBytes = 256;  // of a chunk's size
constexpr size_t kMaxTrailerBytes = 8192;
constexpr uint64_t kMaxChunkBytes = uint64_t{1} << 62;  // with its end it still is a number
constexpr std::string_view kLineEnd = "\r\n";

// "1f" or "1f;name=value": RFC 9112 §7.1.
std::optional<uint64_t> read_chunk_size(std::string_view line) {
  uint64_t size = 0;
  const auto digits = line.substr(0, line.find(';'));
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (size > kMaxChunkBytes) return std::nullopt;
  return size;
}

// No request begins so: frames of a WebSocket do (RFC 6455 §5.2).
bool is_no_text(std::byte byte) {
  const auto value = static_cast<uint8_t>(byte);
  return value >= 0x80 ||
         (value < 0x20 &&
          std::string_view("\t\n\v\f\r").find(static_cast<char>(value)) == std::string_view::npos);
}

}  // namespace

uint64_t HttpRequests::feed(wire::ByteView bytes) {
  while (!bytes.empty() && step_ != Step::refused) {
    const size_t taken = take(bytes);
    bytes = bytes.subspan(taken);
    fed_ += taken;
    const bool waits_for_more = step_ == Step::head || step_ == Step::refused;
    if (!waits_for_more) may_go_ = fed_;
  }
  return may_go_;
}

size_t HttpRequests::take(wire::ByteView bytes) {
  switch (step_) {
    case Step::head:
      return take_head(bytes);
    case Step::sized_body:
    case Step::chunk_data:
      return take_data(bytes);
    case Step::chunk_size:
    case Step::trailer:
      return take_line(static_cast<char>(bytes[0]));
    case Step::upgrade:
      return look_at_upgrade(bytes[0]);
    case Step::tunnel:
    case Step::refused:
      break;
  }
  return bytes.size();
}

size_t HttpRequests::take_head(wire::ByteView bytes) {
  const size_t taken = head_.feed(bytes);
  if (!head_.shown().is_decided()) return taken;
  const ShownName& shown = head_.shown();
  if (!first_.is_decided()) first_ = shown;
  const bool is_request =
      shown.kind == ShownName::Kind::name || shown.kind == ShownName::Kind::no_name;
  if (!is_request || shown.kind != first_.kind || shown.name != first_.name) {
    refuse();
  } else {
    may_go_ = fed_ + taken;
    end_head();
  }
  return taken;
}

void HttpRequests::end_head() {
  const HttpHead::Body body = head_.body();
  if (body.form == Form::chunked) {
    step_ = Step::chunk_size;
  } else if (body.form == Form::tunnel) {
    step_ = Step::upgrade;
  } else if (body.bytes != 0) {
    data_left_ = body.bytes;
    step_ = Step::sized_body;
  } else {
    end_request();
  }
}

void HttpRequests::end_request() {
  head_ = {};
  step_ = Step::head;
}

size_t HttpRequests::take_data(wire::ByteView bytes) {
  const auto count = static_cast<size_t>(std::min<uint64_t>(bytes.size(), data_left_));
  if (count != 0) {
    data_left_ -= count;
    if (data_left_ == 0 && step_ == Step::sized_body) end_request();
    if (step_ == Step::head) may_go_ = fed_ + count;
    return count;
  }
  chunk_end_ += static_cast<char>(bytes[0]);
  if (!kLineEnd.starts_with(chunk_end_)) refuse();
  if (chunk_end_ != kLineEnd) return 1;
  chunk_end_.clear();
  step_ = Step::chunk_size;
  return 1;
}

size_t HttpRequests::take_line(char byte) {
  line_ += byte;
  const size_t max = step_ == Step::trailer ? kMaxTrailerBytes - trailer_bytes_ : kMaxLineBytes;
  if (line_.size() > max) {
    refuse();
  } else if (byte == '\n') {
    const bool is_sound = line_.ends_with(kLineEnd) && line_.find('\r') == line_.size() - 2;
    if (!is_sound) {
      refuse();
    } else if (step_ == Step::chunk_size) {
      end_chunk_size();
    } else if (line_ == kLineEnd) {
      trailer_bytes_ = 0;
      may_go_ = fed_ + 1;
      end_request();
    } else {
      trailer_bytes_ += line_.size();
    }
    line_.clear();
  }
  return 1;
}

void HttpRequests::end_chunk_size() {
  const auto size = read_chunk_size(std::string_view(line_).substr(0, line_.size() - 2));
  if (!size) return refuse();
  data_left_ = *size;
  step_ = *size == 0 ? Step::trailer : Step::chunk_data;
}

// A server that did not change the protocol goes on with requests, and so do we.
size_t HttpRequests::look_at_upgrade(std::byte first) {
  if (is_no_text(first)) {
    step_ = Step::tunnel;
  } else {
    end_request();
  }
  return 0;
}

}  // namespace microvm::net
