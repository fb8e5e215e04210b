#include "agent/session/pty_terminal.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "agent/program/pipes.hpp"

namespace microvm::agent {
namespace {

winsize kernel_size(TerminalSize size) {
  winsize out{};
  out.ws_row = size.rows;
  out.ws_col = size.columns;
  return out;
}

// The kernel's defaults are those of a login terminal, but for this: erasing takes a character, not
// a byte.
void expect_utf8(int terminal) {
  termios settings{};
  if (tcgetattr(terminal, &settings) != 0) return;
  settings.c_iflag |= IUTF8;
  tcsetattr(terminal, TCSANOW, &settings);
}

}  // namespace

Outcome<PtyTerminal> PtyTerminal::open(TerminalSize size, base::Fd& program_end) {
  PtyTerminal terminal;
  terminal.master_.reset(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.master_) return fail_errno("/dev/ptmx");
  const int unlocked = 0;
  if (ioctl(terminal.fd(), TIOCSPTLCK, &unlocked) != 0) return fail_errno("unlock a terminal");
  // Without a path: /dev is the image's to change.
  program_end.reset(ioctl(terminal.fd(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!program_end) return fail_errno("open a terminal");
  set_nonblocking(terminal.fd());
  expect_utf8(program_end.get());
  terminal.resize(size);
  return terminal;
}

ssize_t PtyTerminal::read(std::span<std::byte> out) const {
  const ssize_t count = ::read(master_.get(), out.data(), out.size());
  if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
  return count == 0 ? -1 : count;
}

size_t PtyTerminal::write(std::span<const std::byte> bytes) const {
  size_t taken = 0;
  while (taken < bytes.size()) {
    const ssize_t count = ::write(master_.get(), bytes.data() + taken, bytes.size() - taken);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0 || (count < 0 && errno == EAGAIN)) return taken;
    if (count < 0) break;
    taken += static_cast<size_t>(count);
  }
  return bytes.size();
}

void PtyTerminal::resize(TerminalSize size) const {
  const winsize wanted = kernel_size(size);
  ioctl(master_.get(), TIOCSWINSZ, &wanted);
}

void PtyTerminal::signal_foreground(int signal) const {
  pid_t group = 0;
  // 1 and below would be everybody.
  if (ioctl(master_.get(), TIOCGPGRP, &group) == 0 && group > 1) kill(-group, signal);
}

}  // namespace microvm::agent
