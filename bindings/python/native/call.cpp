#include "call.hpp"

#include "arguments.hpp"
#include "let_go.hpp"

namespace microvm::python {

namespace {

class Joined {
 public:
  Joined(Token* user, CancelToken& call) : user_(user), call_(call) {
    if (user_ != nullptr) user_->join(&call_);
  }
  ~Joined() {
    if (user_ != nullptr) user_->leave(&call_);
  }
  Joined(const Joined&) = delete;
  Joined& operator=(const Joined&) = delete;

 private:
  Token* user_;
  CancelToken& call_;
};

}  // namespace

Call::Call(py::handle timeout, py::handle cancel)
    : timeout_(time_limit("timeout", timeout)),
      cancel_(py::reinterpret_borrow<py::object>(cancel)) {
  if (cancel.is_none()) return;
  if (!py::isinstance<Token>(cancel)) wrong_type("cancel", "a CancelToken", cancel);
  user_token_ = cancel.cast<Token*>();
}

void Call::carry_out(const Work& work) {
  const Joined joined(user_token_, *token_);
  Helper* helper = on_main_thread() ? Helper::take() : nullptr;
  if (helper == nullptr) {
    carry_out_here(work);
  } else {
    carry_out_elsewhere(*helper, work);
    helper->give_back();
  }
  if (thrown_) std::rethrow_exception(thrown_);
}

void Call::carry_out_here(const Work& work) {
  Unlocked unlocked;
  unlocked_ = &unlocked;
  caller_ = PyThread_get_thread_ident();
  try {
    work({&*token_, timeout_});
  } catch (const std::exception&) {
    thrown_ = std::current_exception();
  }
}

void Call::carry_out_elsewhere(Helper& helper, const Work& work) {
  const std::function<void()> task = [&] {
    try {
      work({&*token_, timeout_});
    } catch (const std::exception&) {
      thrown_ = std::current_exception();
    }
  };
  Errand errand(task);
  errand_ = &errand;
  Unlocked unlocked;
  helper.start(errand);
  for (;;) {
    const auto news = errand.wait();
    if (news == Errand::News::done) return;
    if (news == Errand::News::none) {
      check_signals(unlocked);
      continue;
    }
    unlocked.take_back();
    errand.answer();
    unlocked.give_up();
  }
}

// What comes after the first exception waits until the call is over, as the interpreter's own.
void Call::check_signals(Unlocked& unlocked) {
  unlocked.take_back();
  if (!raised_.is_there() && PyErr_CheckSignals() != 0) {
    raised_.take_current();
    token_->cancel();
  }
  unlocked.give_up();
}

void Call::end_with(const char* object) {
  closed_ = object;
  token_->cancel();
}

void Call::explain(Error& error) const {
  const bool by_close = closed_ != nullptr && error.code == ErrorCode::cancelled && !is_over();
  if (by_close) error.message = std::string(closed_) + " was closed under the call";
}

bool Call::on_caller(const std::function<void()>& python) {
  bool went_well = true;
  const std::function<void()> guarded = [&] {
    guard(python);
    went_well = !raised_.is_there();
  };
  if (errand_ != nullptr) {
    errand_->ask(guarded);
  } else if (PyThread_get_thread_ident() == caller_) {
    unlocked_->take_back();
    guarded();
    unlocked_->give_up();
  } else {
    const LibraryThread here(true);
    const auto state = PyGILState_Ensure();
    guarded();
    PyGILState_Release(state);
  }
  return went_well;
}

void Call::guard(const std::function<void()>& python) {
  if (raised_.is_there()) return;
  raised_.take_thrown(python);
  if (raised_.is_there()) token_->cancel();
}

}  // namespace microvm::python
