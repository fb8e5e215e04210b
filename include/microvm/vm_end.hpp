// How a microVM ended.
#pragma once

#include <string>

#include "microvm/error.hpp"

namespace microvm {

enum class VmEnd {
  none,         // it has not ended
  terminated,   // somebody asked for it, or its owner went away
  powered_off,  // by its guest
  reset,        // likewise
  panicked,     // the guest's kernel
  crashed,      // the guest stopped with a triple fault, or KVM could not go on with it
  killed,       // its worker was, or left no word
};
struct VmEnding {
  VmEnd end = VmEnd::none;
  std::string reason;  // one line
};
MICROVM_API const char* vm_end_name(VmEnd end) noexcept;

}  // namespace microvm
