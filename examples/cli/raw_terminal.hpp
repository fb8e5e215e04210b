// Our own terminal while it is lent to a program in a guest: every key goes through, and whatever
// ends us gives it back as it was.
#pragma once

#include "microvm/cancel.hpp"
#include "microvm/pty.hpp"

namespace cli {

// Standard input is one.
bool have_terminal();
// Of standard output or input; 24 × 80 where neither is a terminal.
microvm::PtySize terminal_size();

// At most one at a time. Signals that would end us cancel `stop` (borrowed); a second one ends us.
class RawTerminal {
 public:
  explicit RawTerminal(microvm::CancelToken& stop);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  // Readable when the size may have changed, or we were stopped and go on. For poll().
  [[nodiscard]] int changes() const;
  // After that: raw again, and nothing to read until the next time.
  void refresh();
};

}  // namespace cli
