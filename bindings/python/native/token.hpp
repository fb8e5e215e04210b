// libmicrovm.CancelToken: one that a program cancels, and through it the calls that were given it.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "errors.hpp"
#include "microvm/cancel.hpp"
#include "zeroed.hpp"

namespace microvm::python {

// Only with the GIL; the library's own tokens are for any thread.
class Token : public Zeroed {
 public:
  void cancel() {
    CancelToken(made()).cancel();
    for (CancelToken* call : calls_) call->cancel();
  }
  [[nodiscard]] bool cancelled() const { return made().cancelled(); }
  [[nodiscard]] int fd() const { return made().fd(); }

  // A call that has a token of its own, as long as it is under way.
  void join(CancelToken* call) {
    calls_.push_back(call);
    if (cancelled()) call->cancel();
  }
  void leave(CancelToken* call) {
    calls_.erase(std::remove(calls_.begin(), calls_.end(), call), calls_.end());
  }

 private:
  [[nodiscard]] const CancelToken& made() const {
    if (!token_)
      fail(ErrorCode::invalid_argument, "the CancelToken was never made: call its class");
    return *token_;
  }

  std::optional<CancelToken> token_{CancelToken()};
  std::vector<CancelToken*> calls_;
};

}  // namespace microvm::python
