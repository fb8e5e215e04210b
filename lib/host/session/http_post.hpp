// One HTTP/1.1 POST on a stream of its own. The answer is a guest's: read strictly, by known
// bounds, and no more of it than decides.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "host/base/limits.hpp"

namespace microvm::host {

inline constexpr size_t kMaxHttpHeadBytes = 16 * 1024;
inline constexpr size_t kMaxHttpBodyBytes = 64 * 1024;

struct HttpHead {
  unsigned status = 0;                 // 100 to 599
  std::optional<uint64_t> body_bytes;  // Content-Length
  bool chunked = false;
};

// Status line and fields with the empty line that ends them. Error: protocol.
Result<HttpHead> parse_http_head(std::string_view head);

struct HttpPost {
  uint16_t port = 0;  // for the Host field
  std::string path;
  std::string body;  // JSON
};

struct HttpAnswer {
  unsigned status = 0;
  std::string first_line;  // of the body, printable, cut after 200 bytes; may be empty
};

// `stream` is connected and used for nothing else. `what` begins messages. Errors: protocol (no
// whole answer, or none of HTTP/1), cancelled, deadline_exceeded, io.
Result<HttpAnswer> http_post(int stream, const HttpPost& request, const Limits& limits,
                             std::string_view what);

}  // namespace microvm::host
