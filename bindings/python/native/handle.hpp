// What an object of Python holds of the library: until it is closed, and in its own process only.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "call.hpp"
#include "let_go.hpp"
#include "process.hpp"
#include "zeroed.hpp"

namespace microvm::python {

class Closable {
 public:
  Closable() = default;
  Closable(const Closable&) = delete;
  Closable& operator=(const Closable&) = delete;
  virtual ~Closable() = default;
  virtual void close() = 0;
};

// A Runtime and what came out of it. All of it with the GIL.
class Family {
 public:
  void join(Closable* member) { members_.push_back(member); }
  void leave(Closable* member) { std::erase(members_, member); }
  // The youngest first: streams before their Vm, Vms before the Runtime.
  void close();
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  std::vector<Closable*> members_;
  bool closed_ = false;
};

// All families, for the exit handler.
void close_families();
std::shared_ptr<Family> make_family();

[[noreturn]] void fail_closed(const char* what);
[[noreturn]] void fail_forked(const char* what);

template <class T>
class Handle final : public Closable, public Zeroed {
 public:
  Handle(const char* what, T&& value, std::shared_ptr<Family> family)
      : what_(what),
        value_(std::make_shared<T>(std::move(value))),
        family_(std::move(family)),
        process_(process_number()) {
    family_->join(this);
    if (family_->closed()) close();  // meanwhile, by another thread
  }
  // The interpreter may be at any place, also where an exception is set.
  ~Handle() override {
    family_->leave(this);
    close();
  }

  // Calls that use it end as soon as they leave nothing behind, and it with the last of them.
  void close() override {
    if (!value_) return;
    if (process_ != process_number()) {
      // Its threads and locks are those of another process: it can only be left alone.
      new std::shared_ptr<T>(std::move(value_));
      value_.reset();
      return;
    }
    for (Call* call : calls_) call->end_with(what_);
    let_go(std::exchange(value_, nullptr));
  }
  [[nodiscard]] bool closed() const { return !value_; }
  [[nodiscard]] const std::shared_ptr<Family>& family() const { return family_; }

  // The right to read one of a class that one thread at a time may read. Taken and given back with
  // the GIL.
  class Reading {
   public:
    explicit Reading(const Handle& handle) : being_read_(handle.being_read_) {
      if (being_read_) fail(ErrorCode::busy, std::string(handle.what_) + ": another thread reads");
      being_read_ = true;
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() { being_read_ = false; }

   private:
    bool& being_read_;
  };

  // A call that may block: f(T&, const CallLimits&) -> Result.
  template <class F>
  auto use(Call& call, F&& f) const {
    return share(call, [&](const std::shared_ptr<T>& value, const CallLimits& limits) {
      return f(*value, limits);
    });
  }
  // One whose result needs it too: f(std::shared_ptr<T>, const CallLimits&) -> Result.
  template <class F>
  auto share(Call& call, F&& f) const {
    auto value = get();
    const UnderWay under_way(calls_, call);
    return call.run([&](const CallLimits& limits) {
      const auto used = std::move(value);
      return f(used, limits);
    });
  }
  // One that takes what is there with `now`, and only else waits for it with `f`. Where something
  // is, that costs the main thread no helper.
  template <class Now, class F>
  auto use_or_wait(Call& call, Now&& now, F&& f) const {
    if (!call.is_over()) {
      auto there = look(now);
      if (there || there.error().code != ErrorCode::would_block) return unwrap(std::move(there));
    }
    return use(call, f);
  }
  // One that does not block: f(T&) -> anything but void.
  template <class F>
  auto look(F&& f) const {
    auto value = get();
    const Unlocked unlocked;
    auto seen = f(*value);
    value.reset();
    return seen;
  }

 private:
  // With the GIL when it begins and when it is over.
  class UnderWay {
   public:
    UnderWay(std::vector<Call*>& calls, Call& call) : calls_(calls), call_(call) {
      calls_.push_back(&call_);
    }
    ~UnderWay() { std::erase(calls_, &call_); }
    UnderWay(const UnderWay&) = delete;
    UnderWay& operator=(const UnderWay&) = delete;

   private:
    std::vector<Call*>& calls_;
    Call& call_;
  };

  [[nodiscard]] std::shared_ptr<T> get() const {
    if (process_ != process_number()) fail_forked(what_);
    if (!value_) fail_closed(what_);
    return value_;
  }

  const char* what_;
  std::shared_ptr<T> value_;
  std::shared_ptr<Family> family_;
  uint32_t process_;
  mutable bool being_read_ = false;
  mutable std::vector<Call*> calls_;
};

}  // namespace microvm::python
