// A stream that ends by itself, as text.
#pragma once

#include <string>
#include <string_view>

#include "host/base/limits.hpp"

namespace microvm::host {

// Until the end of the stream, at most `max_bytes` of it.
Result<std::string> read_stream(int fd, size_t max_bytes, const Limits& limits,
                                std::string_view what);

}  // namespace microvm::host
