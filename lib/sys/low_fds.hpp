// For files that foreign code opens and keeps; base::Fd sees to our own.
#pragma once

#include <array>

namespace microvm::sys {

// While it lives nothing that is opened in this process becomes 0, 1 or 2: those that are free are
// held. As far as there is room for them; without, it does nothing.
class LowFdsHeld {
 public:
  LowFdsHeld();
  ~LowFdsHeld();
  LowFdsHeld(const LowFdsHeld&) = delete;
  LowFdsHeld& operator=(const LowFdsHeld&) = delete;

 private:
  std::array<bool, 3> held_{};
};

}  // namespace microvm::sys
