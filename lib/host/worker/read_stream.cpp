#include "host/worker/read_stream.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>

namespace microvm::host {
namespace {

// One piece; empty at the end. The fd may be a pipe, a socket or a file, blocking or not: it is
// only read when poll says that there is something.
Result<size_t> read_piece(int fd, std::span<char> out, const Limits& limits,
                          std::string_view what) {
  for (;;) {
    if (auto ready = limits.wait(fd, POLLIN, what); !ready) return base::fail(ready.error());
    const auto got = ::read(fd, out.data(), out.size());
    if (got >= 0) return static_cast<size_t>(got);
    if (errno == ECONNRESET) return 0;
    if (errno != EAGAIN && errno != EINTR) return base::fail_errno(std::string(what) + ": read");
  }
}

}  // namespace

Result<std::string> read_stream(int fd, size_t max_bytes, const Limits& limits,
                                std::string_view what) {
  std::string text;
  std::array<char, 16 * 1024> buffer;  // not initialised
  while (text.size() < max_bytes) {
    const auto piece = std::span(buffer).first(std::min(buffer.size(), max_bytes - text.size()));
    const auto got = read_piece(fd, piece, limits, what);
    if (!got) return base::fail(got.error());
    if (*got == 0) break;
    text.append(buffer.data(), *got);
  }
  return text;
}

}  // namespace microvm::host
