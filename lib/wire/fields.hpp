// Fields of messages and records. A visitor names the fields of a type once; FieldWriter and
// FieldReader give it its direction, so the two can not disagree.
//
// In the growing form every object is u32 length and its fields, one after another. A reader skips
// what comes after the fields that it knows, and those that the writer did not know keep their
// defaults. So a field is only ever added at the end of its object, and only one that a reader may
// be without: what must not be overlooked is a message, or a version, of its own.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <vector>

#include "wire/bytes.hpp"

namespace microvm::wire {

// fixed: no lengths, and exactly the fields that there were in the first version.
enum class Form : uint8_t { fixed, growing };

class FieldWriter {
 public:
  explicit FieldWriter(Form form) : form_(form) {}

  [[nodiscard]] bool grows() const { return form_ == Form::growing; }
  template <std::integral T>
  void number(const T& value) {
    out_.put(value);
  }
  void flag(const bool& value) { out_.put(static_cast<uint8_t>(value)); }
  void text(const std::string& value, size_t) { out_.put_string(value); }
  template <class E>
  void choice(const E& value, E) {
    out_.put(static_cast<uint8_t>(value));
  }
  template <class T, class Fields>
  void object(const T& value, Fields&& fields) {
    if (!grows()) return fields(*this, value);
    FieldWriter inner(form_);
    fields(inner, value);
    out_.put(static_cast<uint32_t>(inner.out_.bytes().size()));
    out_.put_bytes(inner.out_.bytes());
  }
  template <class T, class Fields>
  void list(const std::vector<T>& items, size_t, Fields&& fields) {
    out_.put(static_cast<uint16_t>(items.size()));
    for (const T& item : items) object(item, fields);
  }

  [[nodiscard]] Bytes take() { return out_.take(); }

 private:
  Form form_;
  ByteWriter out_;
};

class FieldReader {
 public:
  FieldReader(Form form, ByteView bytes) : form_(form), in_(bytes) {}

  [[nodiscard]] bool grows() const { return form_ == Form::growing; }
  template <std::integral T>
  void number(T& value) {
    if (is_there()) value = in_.get<T>();
  }
  void flag(bool& value) {
    if (!is_there()) return;
    const auto byte = in_.get<uint8_t>();
    if (byte > 1) in_.fail();
    value = byte == 1;
  }
  void text(std::string& value, size_t max) {
    if (is_there()) value = in_.get_string(max);
  }
  template <class E>
  void choice(E& value, E last) {
    if (!is_there()) return;
    const auto byte = in_.get<uint8_t>();
    if (byte > static_cast<uint8_t>(last)) return in_.fail();
    value = static_cast<E>(byte);
  }
  template <class T, class Fields>
  void object(T& value, Fields&& fields) {
    if (!grows()) return fields(*this, value);
    if (!is_there()) return;
    const auto size = in_.get<uint32_t>();
    FieldReader inner(form_, in_.get_bytes(size));
    if (!in_.ok()) return;
    fields(inner, value);
    if (!inner.in_.ok()) in_.fail();
  }
  template <class T, class Fields>
  void list(std::vector<T>& items, size_t max, Fields&& fields) {
    if (!is_there()) return;
    const auto count = in_.get<uint16_t>();
    if (count > max) return in_.fail();
    items.resize(count);
    for (T& item : items) {
      if (!is_there()) return in_.fail();  // only fields may be missing
      object(item, fields);
    }
  }

  // All that was read was there; in the fixed form there is nothing more either.
  [[nodiscard]] bool is_valid() const { return grows() ? in_.ok() : in_.done(); }

 private:
  [[nodiscard]] bool is_there() const { return !grows() || in_.left() != 0; }

  Form form_;
  ByteReader in_;
};

}  // namespace microvm::wire
