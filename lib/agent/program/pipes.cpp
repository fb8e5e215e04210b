#include "agent/program/pipes.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace microvm::agent {

Outcome<Pipe> make_pipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return fail_errno("pipe");
  return Pipe{base::Fd(fds[0]), base::Fd(fds[1])};
}

Outcome<base::Fd> open_null() {
  base::Fd fd(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!fd) return fail_errno("/dev/null");
  return fd;
}

// Belongs to one end of a pipe: the program's stays as it expects it.
void set_nonblocking(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

size_t bytes_waiting(int fd) {
  int count = 0;
  if (ioctl(fd, FIONREAD, &count) != 0 || count < 0) return 0;
  return static_cast<size_t>(count);
}

Outcome<StreamPipes> make_streams(bool with_stdin) {
  StreamPipes pipes;
  auto out = make_pipe();
  if (!out) return fail(out.error());
  auto err = make_pipe();
  if (!err) return fail(err.error());
  pipes.agent = {base::Fd(), std::move(out->read_end), std::move(err->read_end)};
  pipes.program = {base::Fd(), std::move(out->write_end), std::move(err->write_end)};
  if (with_stdin) {
    auto in = make_pipe();
    if (!in) return fail(in.error());
    pipes.agent.in = std::move(in->write_end);
    pipes.program.in = std::move(in->read_end);
    set_nonblocking(pipes.agent.in.get());
  } else {
    auto null = open_null();
    if (!null) return fail(null.error());
    pipes.program.in = std::move(*null);
  }
  set_nonblocking(pipes.agent.out.get());
  set_nonblocking(pipes.agent.err.get());
  return pipes;
}

}  // namespace microvm::agent
