// A token for one call, whoever ends it: Ctrl-C, a callback that raised, the token it was given, or
// the end of the object it uses.
#pragma once

#include <cstdint>

#include "microvm/cancel.hpp"

namespace microvm::python {

// Lent for a lifetime, as making one costs a descriptor. With the GIL, but for what it gives.
class CallToken {
 public:
  CallToken();
  ~CallToken();
  CallToken(const CallToken&) = delete;
  CallToken& operator=(const CallToken&) = delete;

  CancelToken& operator*() { return token_; }
  CancelToken* operator->() { return &token_; }

 private:
  const uint32_t process_;
  CancelToken token_;
};

}  // namespace microvm::python
