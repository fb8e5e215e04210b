// libmicrovm.CancelToken: one that a program cancels, and through it the calls that were given it.
#pragma once

#include <algorithm>
#include <vector>

#include "microvm/cancel.hpp"

namespace microvm::python {

// Only with the GIL; the library's own tokens are for any thread.
class Token {
 public:
  void cancel() {
    token_.cancel();
    for (CancelToken* call : calls_) call->cancel();
  }
  [[nodiscard]] bool cancelled() const { return token_.cancelled(); }
  [[nodiscard]] int fd() const { return token_.fd(); }
  [[nodiscard]] const CancelToken& token() const { return token_; }

  // A call that has a token of its own, as long as it is under way.
  void join(CancelToken* call) {
    calls_.push_back(call);
    if (cancelled()) call->cancel();
  }
  void leave(CancelToken* call) {
    calls_.erase(std::remove(calls_.begin(), calls_.end(), call), calls_.end());
  }

 private:
  CancelToken token_;
  std::vector<CancelToken*> calls_;
};

}  // namespace microvm::python
