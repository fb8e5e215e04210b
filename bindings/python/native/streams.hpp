// What the handles of programs and terminals have in common.
#pragma once

#include "bindings.hpp"
#include "values.hpp"

namespace microvm::python {

template <auto method, class T>
auto peek(const Handle<T>& handle) {
  return handle.look([](T& t) { return (t.*method)(); });
}

// A Vm, a VmStart and an Exec look after themselves.
template <class T>
inline constexpr bool kHasOneReader =
    std::is_same_v<T, Pty> || std::is_same_v<T, Watch> || std::is_same_v<T, LogStream> ||
    std::is_same_v<T, EventStream> || std::is_same_v<T, FlowStream>;

template <class T>
auto reading(const Handle<T>& handle) {
  if constexpr (kHasOneReader<T>) {
    return typename Handle<T>::Reading(handle);
  } else {
    return nullptr;
  }
}

// A call that takes limits and nothing else.
template <auto method, class T>
auto plain_call(const Handle<T>& handle, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  return handle.use(call, [](T& t, const CallLimits& limits) { return (t.*method)(limits); });
}

// Takes what is there with `now`, waits for it with `method`.
template <auto now, auto method, class T>
auto stream_call(const Handle<T>& handle, py::handle timeout, py::handle cancel) {
  [[maybe_unused]] const auto right = reading(handle);
  Call call(timeout, cancel);
  return handle.use_or_wait(
      call, [](T& t) { return (t.*now)(); },
      [](T& t, const CallLimits& limits) { return (t.*method)(limits); });
}

template <auto now, class T>
auto now_call(const Handle<T>& handle) {
  [[maybe_unused]] const auto right = reading(handle);
  return unwrap(peek<now>(handle));
}

template <class T>
void signal_program(const Handle<T>& handle, py::handle given, py::handle timeout,
                    py::handle cancel) {
  const auto number = static_cast<int>(to_number("signal", given, INT32_MAX));
  Call call(timeout, cancel);
  handle.use(call, [&](T& t, const CallLimits& limits) { return t.signal(number, limits); });
}

// As much of it as goes without waiting.
template <auto method, class T>
size_t write_now(const Handle<T>& handle, py::handle given) {
  const Bytes data("data", given);
  return unwrap(handle.look([&](T& t) { return (t.*method)(data.span()); }));
}

template <auto method, class T>
void write_all(const Handle<T>& handle, py::handle given, py::handle timeout, py::handle cancel) {
  const Bytes data("data", given);
  Call call(timeout, cancel);
  handle.use(call,
             [&](T& t, const CallLimits& limits) { return (t.*method)(data.span(), limits); });
}

template <class T>
void bind_closing(Bound<T>& bound) {
  bound.def("close", &Handle<T>::close).def_property_readonly("closed", &Handle<T>::closed);
}

template <class T>
void bind_program(Bound<T>& bound) {
  using H = const Handle<T>&;
  bound.def("signal", &signal_program<T>)
      .def("wait",
           [](H handle, py::handle timeout, py::handle cancel) {
             return describe(stream_call<&T::try_wait, &T::wait>(handle, timeout, cancel));
           })
      .def("try_wait", [](H handle) { return describe(now_call<&T::try_wait>(handle)); })
      .def("id",
           [](H handle) { return text(handle.look([](T& t) { return std::string(t.id()); })); })
      .def("pid", [](H handle) { return peek<&T::pid>(handle); })
      .def("position", [](H handle) { return peek<&T::position>(handle); })
      .def("writer", [](H handle) { return peek<&T::writer>(handle); })
      .def("fd", [](H handle) { return peek<&T::fd>(handle); });
  bind_closing(bound);
}

}  // namespace microvm::python
