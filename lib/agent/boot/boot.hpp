// From the start of PID 1 in the initramfs to a system that can run the image's programs. Only this
// runs in nothing but a booting guest, so it is kept thin.
#pragma once

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// Gives the control group for all programs.
[[nodiscard]] Outcome<base::Fd> boot();

}  // namespace microvm::agent
