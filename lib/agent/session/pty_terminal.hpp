// One pseudo terminal: the agent holds the master, the program is at the other side.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "agent/base/failed.hpp"
#include "agent/session/terminal_size.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

class PtyTerminal {
 public:
  // Its master does not block. `program_end` is to live until the program was spawned.
  [[nodiscard]] static Outcome<PtyTerminal> open(TerminalSize size, base::Fd& program_end);

  [[nodiscard]] int fd() const { return master_.get(); }
  [[nodiscard]] bool is_open() const { return master_.valid(); }
  // Hangs it up: what is still attached to it gets SIGHUP.
  void close() { master_.reset(); }

  // Bytes read; 0: none now; -1: no program has it open.
  [[nodiscard]] ssize_t read(std::span<std::byte> out) const;
  // How many bytes it took; the rest has to wait. Where no program has it open they go nowhere.
  [[nodiscard]] size_t write(std::span<const std::byte> bytes) const;

  // The kernel tells the foreground process group, if it changes.
  void resize(TerminalSize size) const;
  // To the foreground process group, as the keys of a terminal do.
  void signal_foreground(int signal) const;

 private:
  base::Fd master_;
};

}  // namespace microvm::agent
