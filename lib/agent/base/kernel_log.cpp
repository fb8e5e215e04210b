#include "agent/base/kernel_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <string>

namespace microvm::agent {
namespace {

// Process-wide like the log itself; set once, before the first thread.
int log_fd = STDERR_FILENO;

void log_line(std::string_view level, std::string_view message) {
  std::string line;
  if (log_fd != STDERR_FILENO) line += level;
  line += "microvm-agent: ";
  line += message;
  line += '\n';
  [[maybe_unused]] const ssize_t written = write(log_fd, line.data(), line.size());
}

}  // namespace

void open_kernel_log() {
  const int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) log_fd = fd;
}

void log_error(std::string_view message) {
  log_line("<3>", message);
}
void log_info(std::string_view message) {
  log_line("<6>", message);
}

}  // namespace microvm::agent
