// Results: what a call gives out, in one allocation of malloc's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "microvm.h"

namespace microvm::capi {

template <class C>
C sized() {
  C result{};
  if constexpr (requires { result.struct_size; }) result.struct_size = sizeof(C);
  return result;
}

// The values of the C enums are those of C++, which only grow at their end.
template <class Enum>
constexpr int32_t value_of(Enum value) {
  return static_cast<int32_t>(value);
}

// Places the parts of a result one behind the other. It is run twice over the same value: without
// memory, which only tells how much is needed, and with it.
//
// fill(Packer&, C&, const V&), found by its arguments, says how a C is made of a V.
class Packer {
 public:
  Packer(std::byte* memory, size_t used) : memory_(memory), used_(used) {}
  [[nodiscard]] size_t used() const { return used_; }

  // A copy with a 0 behind it.
  const uint8_t* bytes(const void* from, size_t size) {
    std::byte* const to = place(size + 1, 1);
    if (to == nullptr) return nullptr;
    if (size > 0) std::memcpy(to, from, size);
    to[size] = std::byte{0};
    return reinterpret_cast<const uint8_t*>(to);
  }
  const char* text(std::string_view text) {
    return reinterpret_cast<const char*>(bytes(text.data(), text.size()));
  }

  template <class C, class V>
  const C* item(const V& value) {
    C made = sized<C>();
    fill(*this, made, value);
    return array(&made, 1);
  }

  template <class C, class V>
  const C* const* items(const std::vector<V>& values) {
    std::vector<const C*> made;
    made.reserve(values.size());
    for (const V& value : values) made.push_back(item<C>(value));
    return array(made.data(), made.size());
  }

  const char* const* texts(const std::vector<std::string>& values) {
    std::vector<const char*> made;
    made.reserve(values.size());
    for (const std::string& value : values) made.push_back(text(value));
    return array(made.data(), made.size());
  }

  const mvm_key_value* pairs(const std::map<std::string, std::string>& values) {
    std::vector<mvm_key_value> made;
    made.reserve(values.size());
    for (const auto& [key, value] : values) made.push_back({text(key), text(value)});
    return array(made.data(), made.size());
  }

  template <class T>
  const T* array(const T* from, size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::byte* const to = place(count * sizeof(T), alignof(T));
    if (to != nullptr && count > 0) std::memcpy(to, from, count * sizeof(T));
    return reinterpret_cast<const T*>(to);
  }

 private:
  std::byte* place(size_t size, size_t alignment) {
    const size_t at = (used_ + alignment - 1) / alignment * alignment;
    used_ = at + size;
    return memory_ == nullptr ? nullptr : memory_ + at;
  }

  std::byte* memory_;
  size_t used_;
};

// Throws std::bad_alloc.
template <class C, class V>
C* make_result(const V& value) {
  C measured = sized<C>();
  Packer measure(nullptr, sizeof(C));
  fill(measure, measured, value);
  auto* memory = static_cast<std::byte*>(std::malloc(measure.used()));
  if (memory == nullptr) throw std::bad_alloc();
  C made = sized<C>();
  Packer packer(memory, sizeof(C));
  fill(packer, made, value);
  return new (memory) C(made);
}

// Text as a result of its own.
inline char* make_text(std::string_view text) {
  auto* memory = static_cast<char*>(std::malloc(text.size() + 1));
  if (memory == nullptr) throw std::bad_alloc();
  text.copy(memory, text.size());
  memory[text.size()] = '\0';
  return memory;
}

// Bytes by themselves.
inline void fill(Packer& packer, mvm_bytes& to, std::string_view from) {
  to = {packer.bytes(from.data(), from.size()), from.size()};
}
inline void fill(Packer& packer, mvm_bytes& to, const std::vector<std::byte>& from) {
  to = {packer.bytes(from.data(), from.size()), from.size()};
}

// A list of infos.
template <class List, class V>
  requires requires(List list) { **list.items; }
void fill(Packer& packer, List& to, const std::vector<V>& from) {
  using Info = std::remove_cvref_t<decltype(**to.items)>;
  to.count = from.size();
  to.items = packer.template items<Info>(from);
}

}  // namespace microvm::capi
