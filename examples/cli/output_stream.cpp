#include "output_stream.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "output.hpp"

namespace cli {

bool OutputStream::write(std::span<const std::byte> data) {
  while (!failed() && !data.empty()) {
    const auto written = ::write(fd_, data.data(), data.size());
    if (written >= 0) {
      data = data.subspan(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  if (failed() && stop_) stop_->cancel();
  return !failed();
}

bool OutputStream::write(std::string_view text) {
  return write(std::as_bytes(std::span(text)));
}

int OutputStream::give_up(int exit_code) const {
  return output_failed(fd_, error_, exit_code);
}

int output_failed(int fd, int error, int exit_code) {
  if (error == EPIPE) return 128 + SIGPIPE;
  const char* name = fd == STDERR_FILENO ? "standard error" : "standard output";
  print_error(fmt::format("{}: {}", name, ::strerrordesc_np(error)));
  return exit_code;
}

}  // namespace cli
