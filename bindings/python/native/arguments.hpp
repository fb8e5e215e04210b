// What Python programs give, as what the library takes. Wrong types are a TypeError, wrong values
// an InvalidArgument; both name the argument.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "errors.hpp"
#include "microvm/exec.hpp"
#include "microvm/hooks.hpp"
#include "microvm/idle.hpp"
#include "microvm/pty.hpp"
#include "microvm/vm.hpp"

namespace microvm::python {

[[noreturn]] void wrong_type(const char* name, const char* wanted, py::handle given);
[[noreturn]] void wrong_value(const char* name, const std::string& why);

bool to_bool(const char* name, py::handle value);
uint64_t to_number(const char* name, py::handle value, uint64_t most);
// str as UTF-8 (surrogateescape: what the library gave as a str), bytes, or os.PathLike.
std::string to_text(const char* name, py::handle value);
std::filesystem::path to_path(const char* name, py::handle value);
// Seconds or a timedelta.
std::chrono::milliseconds to_duration(const char* name, py::handle value);
// None is zero: no limit. Zero and what rounds to it is the shortest there is.
std::chrono::milliseconds time_limit(const char* name, py::handle value);
LogSource to_log_source(const char* name, py::handle value);
PtySize to_pty_size(const char* name, py::handle value);

// The bytes of a bytes-like object, or of a str as UTF-8; borrowed from it.
class Bytes {
 public:
  Bytes(const char* name, py::handle value);
  ~Bytes();
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  [[nodiscard]] std::span<const std::byte> span() const { return span_; }
  // Where there is one: an empty view is no buffer at all.
  [[nodiscard]] std::string string() const;

 private:
  Py_buffer view_{};
  std::string text_;
  std::span<const std::byte> span_;
};

// Keyword options: each field of an option struct takes its own, None leaves it as it is.
class Options {
 public:
  explicit Options(const py::dict& values) : values_(values) {}

  void take(const char* name, bool& out) const;
  void take(const char* name, uint16_t& out) const { take_number(name, out); }
  void take(const char* name, uint32_t& out) const { take_number(name, out); }
  void take(const char* name, uint64_t& out) const { take_number(name, out); }
  void take(const char* name, double& out) const;
  void take(const char* name, std::string& out) const;
  void take(const char* name, std::filesystem::path& out) const;
  void take(const char* name, std::chrono::milliseconds& out) const;
  void take(const char* name, std::vector<std::string>& out) const;
  void take(const char* name, std::map<std::string, std::string>& out) const;
  void take(const char* name, PtySize& out) const;
  void take(const char* name, PtyWriting& out) const;
  void take(const char* name, IdlePolicy& out) const;
  void take(const char* name, Hooks& out) const;
  template <class T>
  void take(const char* name, std::optional<T>& out) const {
    if (find(name).is_none()) return;
    take(name, out.emplace());
  }
  // "NAME=value" strings; from a mapping or a sequence.
  void take_environment(const char* name, std::vector<std::string>& out) const;

  // One that there is no default for.
  template <class T>
  void need(const char* name, T& out) const {
    if (find(name).is_none()) wrong_type(name, "given", py::none());
    take(name, out);
  }

  // None when it is not given.
  [[nodiscard]] py::object find(const char* name) const;

 private:
  template <class Number>
  void take_number(const char* name, Number& out) const {
    const py::object value = find(name);
    if (value.is_none()) return;
    out = static_cast<Number>(to_number(name, value, std::numeric_limits<Number>::max()));
  }

  py::dict values_;
};

}  // namespace microvm::python
