#include "arguments.hpp"

#include <cmath>
#include <cstring>

namespace microvm::python {

namespace {

// More than any use, and far from the end of the clock.
constexpr double kLongestSeconds = 100.0 * 365 * 24 * 3600;

std::string bytes_of(py::handle object) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(object.ptr(), &data, &size) != 0) throw py::error_already_set();
  return {data, static_cast<size_t>(size)};
}

std::string encode(const char* name, py::handle text) {
  PyObject* bytes = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogateescape");
  if (bytes == nullptr) {
    PyErr_Clear();
    wrong_value(name, "cannot be written in UTF-8");
  }
  return bytes_of(py::reinterpret_steal<py::object>(bytes));
}

double seconds_of(const char* name, py::handle value) {
  if (py::hasattr(value, "total_seconds")) return value.attr("total_seconds")().cast<double>();
  if (!PyFloat_Check(value.ptr()) && !PyIndex_Check(value.ptr())) {
    wrong_type(name, "seconds (int or float) or a timedelta", value);
  }
  const double seconds = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() == nullptr) return seconds;
  PyErr_Clear();
  wrong_value(name, "too large");
}

void append_strings(const char* name, py::handle values, std::vector<std::string>& out) {
  if (PyUnicode_Check(values.ptr()) || PyBytes_Check(values.ptr()) ||
      !py::isinstance<py::iterable>(values)) {
    wrong_type(name, "a sequence of str, bytes or os.PathLike", values);
  }
  for (const py::handle value : values) out.push_back(to_text(name, value));
}

bool is_mapping(py::handle value) {
  return py::hasattr(value, "items");
}

}  // namespace

void wrong_type(const char* name, const char* wanted, py::handle given) {
  throw py::type_error(std::string(name) + " must be " + wanted + ", not " +
                       (given.is_none() ? "None" : Py_TYPE(given.ptr())->tp_name));
}

void wrong_value(const char* name, const std::string& why) {
  fail(ErrorCode::invalid_argument, std::string(name) + ": " + why);
}

bool to_bool(const char* name, py::handle value) {
  if (!PyBool_Check(value.ptr())) wrong_type(name, "a bool", value);
  return value.ptr() == Py_True;
}

uint64_t to_number(const char* name, py::handle value, uint64_t most) {
  if (!PyIndex_Check(value.ptr()) || PyBool_Check(value.ptr())) wrong_type(name, "an int", value);
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) throw py::error_already_set();
  const uint64_t number = PyLong_AsUnsignedLongLong(index.ptr());
  const bool fits = PyErr_Occurred() == nullptr && number <= most;
  PyErr_Clear();
  if (!fits) {
    wrong_value(name,
                py::str(index).cast<std::string>() + " is not from 0 to " + std::to_string(most));
  }
  return number;
}

std::string to_text(const char* name, py::handle value) {
  py::object text = py::reinterpret_borrow<py::object>(value);
  if (!PyUnicode_Check(text.ptr()) && !PyBytes_Check(text.ptr())) {
    if (!py::hasattr(value, "__fspath__")) {
      wrong_type(name, "str, bytes or os.PathLike", value);
    }
    text = py::reinterpret_steal<py::object>(PyOS_FSPath(value.ptr()));
    if (!text) throw py::error_already_set();
  }
  std::string bytes = PyUnicode_Check(text.ptr()) ? encode(name, text) : bytes_of(text);
  if (bytes.find('\0') != std::string::npos) wrong_value(name, "has a NUL byte in it");
  return bytes;
}

std::filesystem::path to_path(const char* name, py::handle value) {
  return to_text(name, value);
}

std::chrono::milliseconds to_duration(const char* name, py::handle value) {
  const double seconds = seconds_of(name, value);
  if (!(seconds >= 0) || seconds > kLongestSeconds) {
    wrong_value(name, "must be from 0 seconds to 100 years");
  }
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(seconds * 1000)));
}

std::chrono::milliseconds time_limit(const char* name, py::handle value) {
  if (value.is_none()) return {};
  const double seconds = seconds_of(name, value);
  if (std::isnan(seconds) || seconds < 0) wrong_value(name, "must not be negative");
  if (seconds > kLongestSeconds) return {};
  return std::max(to_duration(name, value), std::chrono::milliseconds(1));
}

LogSource to_log_source(const char* name, py::handle value) {
  const std::string word = to_text(name, value);
  if (word != "app" && word != "kernel") wrong_value(name, "must be app or kernel");
  return word == "app" ? LogSource::app : LogSource::kernel;
}

PtySize to_pty_size(const char* name, py::handle value) {
  if (!py::isinstance<py::sequence>(value) || py::len(value) != 2) {
    wrong_type(name, "a PtySize or (rows, columns)", value);
  }
  const auto pair = py::reinterpret_borrow<py::sequence>(value);
  return {static_cast<uint16_t>(to_number(name, pair[0], UINT16_MAX)),
          static_cast<uint16_t>(to_number(name, pair[1], UINT16_MAX))};
}

Bytes::Bytes(const char* name, py::handle value) {
  if (PyUnicode_Check(value.ptr())) {
    text_ = encode(name, value);
    span_ = std::as_bytes(std::span(text_));
    return;
  }
  if (PyObject_CheckBuffer(value.ptr()) == 0) wrong_type(name, "bytes-like or str", value);
  if (PyObject_GetBuffer(value.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  span_ = {static_cast<const std::byte*>(view_.buf), static_cast<size_t>(view_.len)};
}

Bytes::~Bytes() {
  if (view_.obj != nullptr) PyBuffer_Release(&view_);
}

std::string Bytes::string() const {
  return span_.empty() ? std::string()
                       : std::string(reinterpret_cast<const char*>(span_.data()), span_.size());
}

py::object Options::find(const char* name) const {
  PyObject* value = PyDict_GetItemString(values_.ptr(), name);
  return value == nullptr ? py::none() : py::reinterpret_borrow<py::object>(value);
}

void Options::take(const char* name, bool& out) const {
  const py::object value = find(name);
  if (!value.is_none()) out = to_bool(name, value);
}

void Options::take(const char* name, double& out) const {
  const py::object value = find(name);
  if (value.is_none()) return;
  if (!PyFloat_Check(value.ptr()) && !PyIndex_Check(value.ptr())) {
    wrong_type(name, "a float", value);
  }
  out = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
}

void Options::take(const char* name, std::string& out) const {
  const py::object value = find(name);
  if (!value.is_none()) out = to_text(name, value);
}

void Options::take(const char* name, std::filesystem::path& out) const {
  const py::object value = find(name);
  if (!value.is_none()) out = to_path(name, value);
}

void Options::take(const char* name, std::chrono::milliseconds& out) const {
  const py::object value = find(name);
  if (!value.is_none()) out = to_duration(name, value);
}

void Options::take(const char* name, std::vector<std::string>& out) const {
  const py::object value = find(name);
  if (!value.is_none()) append_strings(name, value, out);
}

void Options::take(const char* name, std::map<std::string, std::string>& out) const {
  const py::object value = find(name);
  if (value.is_none()) return;
  if (!is_mapping(value)) wrong_type(name, "a mapping", value);
  for (const py::handle item : value.attr("items")()) {
    const auto pair = py::reinterpret_borrow<py::sequence>(item);
    out[to_text(name, pair[0])] = to_text(name, pair[1]);
  }
}

void Options::take_environment(const char* name, std::vector<std::string>& out) const {
  const py::object value = find(name);
  if (value.is_none()) return;
  if (!is_mapping(value)) return append_strings(name, value, out);
  for (const py::handle item : value.attr("items")()) {
    const auto pair = py::reinterpret_borrow<py::sequence>(item);
    const std::string key = to_text(name, pair[0]);
    if (key.find('=') != std::string::npos) wrong_value(name, "a name has a '=' in it");
    const py::object content = pair[1];
    // None: without it.
    out.push_back(content.is_none() ? key : key + "=" + to_text(name, content));
  }
}

void Options::take(const char* name, PtySize& out) const {
  const py::object value = find(name);
  if (!value.is_none()) out = to_pty_size(name, value);
}

void Options::take(const char* name, PtyWriting& out) const {
  const py::object value = find(name);
  if (value.is_none()) return;
  const std::string word = to_text(name, value);
  if (word != "exclusive" && word != "shared") wrong_value(name, "must be exclusive or shared");
  out = word == "shared" ? PtyWriting::shared : PtyWriting::exclusive;
}

void Options::take(const char* name, IdlePolicy& out) const {
  const py::object value = find(name);
  if (value.is_none()) return;
  if (!py::hasattr(value, "idle_after")) wrong_type(name, "an IdlePolicy", value);
  const Options fields(value.attr("__dict__"));
  fields.take("idle_after", out.idle_after);
  fields.take("suspended_for", out.suspended_for);
  fields.take("lifetime", out.lifetime);
  fields.take("lifetime_counts_sleep", out.lifetime_counts_sleep);
  fields.take("cpu_threshold", out.cpu_threshold);
  fields.take("auto_resume", out.auto_resume);
}

void Options::take(const char* name, Hooks& out) const {
  const py::object value = find(name);
  if (value.is_none()) return;
  if (!py::hasattr(value, "validate")) wrong_type(name, "Hooks", value);
  const Options fields(value.attr("__dict__"));
  fields.take("port", out.port);
  for (const HookKind& kind : kHookKinds) fields.take(kind.name, out.*kind.timeout);
}

}  // namespace microvm::python
