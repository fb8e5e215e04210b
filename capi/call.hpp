// One call of a C function: its arguments checked and converted, its results given out, its errors
// told. Every function of the API that can fail is
//   return enter(__func__, err, [&](const Call& call) {
//     return call.out(out).take(call.use(vm)->read_file(call.text(path, "path"), …));
//   });
// What is wrong with an argument is thrown (error.hpp) before the library is called, and goes no
// further than enter(); nothing else does either.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <vector>

#include "error.hpp"
#include "objects.hpp"
#include "results.hpp"

namespace microvm::capi {

// More than anything is given, and few enough to be far from every overflow.
constexpr size_t kMaxListed = 1u << 20;
constexpr int64_t kMaxMs = 100ll * 365 * 24 * 3600 * 1000;
constexpr uint32_t kMaxStructSize = 4096;

// mvm_limits for the duration of a call: the token stays, whoever frees its handle meanwhile.
class HeldLimits {
 public:
  HeldLimits() = default;
  HeldLimits(std::optional<Held<mvm_cancel>> cancel, std::chrono::milliseconds timeout)
      : cancel_(std::move(cancel)), limits_{cancel_ ? &**cancel_ : nullptr, timeout} {}
  // NOLINTNEXTLINE(google-explicit-constructor): it is CallLimits and what they borrow.
  operator const CallLimits&() const { return limits_; }

 private:
  std::optional<Held<mvm_cancel>> cancel_;
  CallLimits limits_;
};

// Where a result goes. `to` may be NULL where the caller was told so.
template <class C>
class Out {
 public:
  explicit Out(C** to) : to_(to) {}

  template <class V>
  Result<void> take(const Result<V>& result) const {
    if (!result) return fail(result.error());
    if (to_ != nullptr) *to_ = make_result<C>(*result);
    return {};
  }
  // A piece of a stream; empty: its end, a NULL.
  template <class V>
  Result<void> take(const Result<std::optional<V>>& result) const {
    if (!result) return fail(result.error());
    *to_ = *result ? make_result<C>(**result) : nullptr;
    return {};
  }

 private:
  C** to_;
};

template <class Raw>
class HandleOut {
 public:
  explicit HandleOut(Raw** to) : to_(to) {}

  Result<void> take(Result<ClassOf<Raw>> result) {
    if (!result) return fail(result.error());
    *to_ = place_.publish(std::move(*result));
    return {};
  }

 private:
  Raw** to_;
  NewHandle<Raw> place_;
};

// The right to read a stream, until the end of the call.
class Reading {
 public:
  explicit Reading(std::atomic<bool>& being_read) : being_read_(being_read) {}
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  ~Reading() { being_read_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool>& being_read_;
};

class Call {
 public:
  explicit Call(const char* name) : name_(name) {}

  [[noreturn]] void refuse(const std::string& why,
                           ErrorCode code = ErrorCode::invalid_argument) const {
    capi::refuse(code, std::string(name_) + ": " + why);
  }

  template <class Raw>
  [[nodiscard]] Held<Raw> use(Raw* handle) const {
    if (handle == nullptr) refuse("the handle is NULL");
    Held<Raw> held(handle);
    if (!held) refuse("the handle is not one, or was freed");
    return held;
  }
  template <class Raw>
  [[nodiscard]] Reading reading(const Held<Raw>& held) const {
    if (held.being_read().exchange(true, std::memory_order_acquire)) {
      refuse("another thread reads", ErrorCode::busy);
    }
    return Reading(held.being_read());
  }

  // --- Where results go

  template <class C>
  [[nodiscard]] C* place(C* out) const {
    if (out == nullptr) refuse("out is NULL");
    return out;
  }
  template <class C>
  [[nodiscard]] Out<C> out(C** out) const {
    return Out<C>(place(out));
  }
  template <class C>
  [[nodiscard]] Out<C> out_or_null(C** out) const {
    return Out<C>(out);
  }
  template <class Raw>
  [[nodiscard]] HandleOut<Raw> handle(Raw** out) const {
    return HandleOut<Raw>(place(out));
  }

  template <class T>
  Result<void> set(T* out, std::type_identity_t<T> value) const {
    *place(out) = value;
    return {};
  }
  // What the library answers; it is asked once there is a place for it.
  template <class T, std::invocable Ask>
  Result<void> set(T* out, Ask ask) const {
    T* const to = place(out);
    const auto answer = ask();
    if (!answer) return fail(answer.error());
    *to = *answer;
    return {};
  }
  Result<void> set_text(char** out, std::string_view text) const {
    char** const to = place(out);
    *to = make_text(text);
    return {};
  }

  // --- Arguments; `what` names them in messages

  [[nodiscard]] std::string text(const char* text, const char* what) const {
    if (text == nullptr) refuse(std::string(what) + " is NULL");
    return text;
  }
  [[nodiscard]] static std::string text_or_empty(const char* text) {
    return text == nullptr ? std::string() : std::string(text);
  }
  [[nodiscard]] std::vector<std::string> texts(const char* const* items, size_t count,
                                               const char* what) const;
  [[nodiscard]] std::span<const std::byte> bytes(const void* data, size_t size,
                                                 const char* what) const;
  [[nodiscard]] std::chrono::milliseconds time(int64_t ms, const char* what) const;
  [[nodiscard]] std::chrono::milliseconds time(int64_t ms, std::chrono::milliseconds usual,
                                               const char* what) const;
  // A number or an enum value that is no more than `most`.
  [[nodiscard]] uint16_t small(uint32_t number, const char* what) const;
  template <class Enum>
  [[nodiscard]] Enum value(int32_t number, Enum last, const char* what) const {
    if (number < 0 || number > static_cast<int32_t>(last)) {
      refuse(std::string(what) + " has no value " + std::to_string(number));
    }
    return static_cast<Enum>(number);
  }
  template <class Callback>
  [[nodiscard]] Callback callback(Callback function, const char* what) const {
    if (function == nullptr) refuse(std::string(what) + " is NULL");
    return function;
  }

  [[nodiscard]] HeldLimits limits(const mvm_limits* given) const;

  // What to_cpp(const Call&, const C&), found by its arguments, makes of options. NULL: defaults.
  template <class C>
  [[nodiscard]] auto options(const C* given) const {
    return to_cpp(*this, known_part(given));
  }
  template <class C>
  [[nodiscard]] auto needed_options(const C* given) const {
    if (given == nullptr) refuse(struct_name<C>() + " is NULL");
    return options(given);
  }

  // The struct as this library knows it: a shorter one with zeroes behind it, of a longer one what
  // it knows, where the rest is zero.
  template <class C>
  [[nodiscard]] C known_part(const C* given) const {
    C known{};
    if (given != nullptr) {
      copy_known(&known, sizeof known, given, struct_name<C>());
      if constexpr (requires { known.reserved; }) check_reserved(known.reserved, struct_name<C>());
    }
    return known;
  }

 private:
  // The ABI's name of a class outside of all namespaces: its length and it.
  template <class C>
  static std::string struct_name() {
    const std::string name = typeid(C).name();
    return name.substr(name.find_first_not_of("0123456789"));
  }
  void copy_known(void* known, size_t known_size, const void* given, const std::string& name) const;
  void check_reserved(uint32_t reserved, const std::string& name) const;

  const char* name_;
};

template <class Work>
mvm_status enter(const char* name, mvm_error** err, Work work) noexcept try {
  if (err != nullptr) *err = nullptr;
  const Result<void> done = work(Call(name));
  return done ? MVM_OK : report(err, done.error());
} catch (Refused& refused) {
  return report(err, std::move(refused.error));
} catch (const std::bad_alloc&) {
  return report_out_of_memory(err);
} catch (const std::exception& thrown) {
  return report_thrown(err, name, thrown.what());
} catch (...) {
  return report_thrown(err, name, "something that is no std::exception");
}

}  // namespace microvm::capi
