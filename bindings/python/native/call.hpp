// One call of the library: without the GIL, within its limits, open to Ctrl-C.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "call_token.hpp"
#include "errors.hpp"
#include "helper.hpp"
#include "interpreter.hpp"
#include "microvm/cancel.hpp"
#include "microvm/vm.hpp"
#include "token.hpp"

namespace microvm::python {

// What a call has made, although it was to be given up: nobody will get it. Overloaded where that
// would leave something behind.
template <class T>
void abandon(T& /*made*/) {}
inline void abandon(Vm& started) {
  static_cast<void>(started.terminate());
}
inline void abandon(std::vector<Vm>& started) {
  for (Vm& vm : started) abandon(vm);
}

class Call {
 public:
  using Work = std::function<void(const CallLimits&)>;

  // `timeout`: None, seconds or a timedelta; `cancel`: None or a CancelToken.
  Call(py::handle timeout, py::handle cancel);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // `call` takes CallLimits and returns a Result. Throws its error, or what a signal handler or a
  // callback has raised meanwhile.
  template <class F>
  auto run(F&& call);

  // Before it has begun.
  [[nodiscard]] bool is_over() const { return user_token_ != nullptr && user_token_->cancelled(); }

  // The object that it uses is closed, by another thread or from within the call: it ends as if it
  // was cancelled. With the GIL.
  void end_with(const char* object);

  // For callbacks, from within the call, without the GIL, on any thread: carries out `python` on
  // the thread that made the call. False: it has raised, and the call is over as soon as it may be.
  bool on_caller(const std::function<void()>& python);

 private:
  void carry_out(const Work& work);
  void carry_out_elsewhere(Helper& helper, const Work& work);
  void carry_out_here(const Work& work);
  void check_signals(Unlocked& unlocked);
  void explain(Error& error) const;
  void guard(const std::function<void()>& python);

  std::chrono::milliseconds timeout_{0};
  py::object cancel_;
  Token* user_token_ = nullptr;
  CallToken token_;
  const char* closed_ = nullptr;  // what it used, if that ended it
  // While it is under way.
  Errand* errand_ = nullptr;
  Unlocked* unlocked_ = nullptr;
  unsigned long caller_ = 0;
  std::exception_ptr thrown_;  // by the library: out of memory
  Raised raised_;
};

template <class F>
auto Call::run(F&& call) {
  std::optional<std::invoke_result_t<F&, const CallLimits&>> result;
  carry_out([&](const CallLimits& limits) { result.emplace(call(limits)); });
  if (!raised_.is_there()) {
    if (!*result) explain(result->error());
    return unwrap(std::move(*result));
  }
  {
    const Unlocked unlocked;
    if constexpr (!std::is_void_v<typename std::decay_t<decltype(*result)>::value_type>) {
      if (result && *result) abandon(**result);
    }
    result.reset();
  }
  raised_.raise();
  throw py::error_already_set();
}

}  // namespace microvm::python
