// What stands behind each kind of handle, and what one call does with it.
#pragma once

#include <atomic>
#include <bit>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "error.hpp"
#include "handle_table.hpp"
#include "microvm/runtime.hpp"

namespace microvm::capi {

// The kind of a handle type and the class that does its work.
template <class Raw>
struct HandleType;
template <>
struct HandleType<mvm_runtime> {
  static constexpr Kind kind = Kind::runtime;
  using Class = Runtime;
};
template <>
struct HandleType<mvm_vm> {
  static constexpr Kind kind = Kind::vm;
  using Class = Vm;
};
template <>
struct HandleType<mvm_vm_start> {
  static constexpr Kind kind = Kind::vm_start;
  using Class = VmStart;
};
template <>
struct HandleType<mvm_exec> {
  static constexpr Kind kind = Kind::exec;
  using Class = Exec;
};
template <>
struct HandleType<mvm_pty> {
  static constexpr Kind kind = Kind::pty;
  using Class = Pty;
};
template <>
struct HandleType<mvm_watch> {
  static constexpr Kind kind = Kind::watch;
  using Class = Watch;
};
template <>
struct HandleType<mvm_log_stream> {
  static constexpr Kind kind = Kind::log_stream;
  using Class = LogStream;
};
template <>
struct HandleType<mvm_flow_stream> {
  static constexpr Kind kind = Kind::flow_stream;
  using Class = FlowStream;
};
template <>
struct HandleType<mvm_event_stream> {
  static constexpr Kind kind = Kind::event_stream;
  using Class = EventStream;
};
template <>
struct HandleType<mvm_keep_awake> {
  static constexpr Kind kind = Kind::keep_awake;
  using Class = KeepAwake;
};
template <>
struct HandleType<mvm_cancel> {
  static constexpr Kind kind = Kind::cancel;
  using Class = CancelToken;
};

template <class Raw>
using ClassOf = typename HandleType<Raw>::Class;

// Memory for it is there before what it holds: what a call has made can not be lost for want of it.
template <class Raw>
struct Object {
  std::optional<ClassOf<Raw>> value;
  std::atomic<bool> being_read{false};  // by one thread at a time, where the class wants that

  static void destroy(void* object) { delete static_cast<Object*>(object); }
};

template <class Raw>
Handle number_of(Raw* handle) noexcept {
  return std::bit_cast<Handle>(handle);
}

// The object of a handle for the duration of a call; nothing where it was no handle.
template <class Raw>
class Held {
 public:
  explicit Held(Raw* handle) noexcept
      : handle_(number_of(handle)),
        object_(static_cast<Object<Raw>*>(handle_table().acquire(handle_, HandleType<Raw>::kind))) {
  }
  Held(Held&& other) noexcept
      : handle_(other.handle_), object_(std::exchange(other.object_, nullptr)) {}
  Held& operator=(Held&&) = delete;
  ~Held() {
    if (object_ != nullptr) handle_table().release(handle_);
  }

  explicit operator bool() const noexcept { return object_ != nullptr; }
  ClassOf<Raw>& operator*() const noexcept { return *object_->value; }
  ClassOf<Raw>* operator->() const noexcept { return &*object_->value; }
  [[nodiscard]] std::atomic<bool>& being_read() const noexcept { return object_->being_read; }

 private:
  Handle handle_;
  Object<Raw>* object_;
};

// A handle that a call is about to give out. Everything it needs is there from the beginning.
template <class Raw>
class NewHandle {
 public:
  NewHandle() : object_(std::make_unique<Object<Raw>>()), slot_(handle_table().reserve()) {
    if (!slot_) {
      refuse(ErrorCode::busy, std::to_string(HandleTable::kMaxHandles) +
                                  " handles are open: free some that are not needed any more");
    }
  }
  NewHandle(NewHandle&& other) noexcept
      : object_(std::move(other.object_)), slot_(std::exchange(other.slot_, std::nullopt)) {}
  NewHandle& operator=(NewHandle&&) = delete;
  ~NewHandle() {
    if (slot_) handle_table().give_back(*slot_);
  }

  Raw* publish(ClassOf<Raw>&& value) noexcept {
    object_->value.emplace(std::move(value));
    const Handle handle =
        handle_table().publish(*std::exchange(slot_, std::nullopt), HandleType<Raw>::kind,
                               object_.release(), &Object<Raw>::destroy);
    return std::bit_cast<Raw*>(handle);
  }

 private:
  std::unique_ptr<Object<Raw>> object_;
  std::optional<uint32_t> slot_;
};

template <class Raw>
void free_handle(Raw* handle) noexcept {
  handle_table().close(number_of(handle), HandleType<Raw>::kind);
}

}  // namespace microvm::capi
