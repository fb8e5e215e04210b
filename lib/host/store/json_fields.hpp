// Reading and writing bounded JSON: every field of a foreign document is asked for with its bound;
// the first one that breaks it decides the error. The parser takes seconds to compile, so that its
// header is known to json_fields.cpp alone: all others see this page.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.hpp"

namespace microvm::host {

// A value to be written, or a document that was read. Copies share what they hold until one is
// changed.
class Json {
 public:
  struct Field;

  Json();  // null
  // An object. Of two fields with one key the first is kept.
  Json(std::initializer_list<Field> fields);
  Json(const std::string& text);
  Json(const char* text);
  template <std::integral Number>
    requires(!std::same_as<Number, bool>)
  Json(Number number) : Json(of(static_cast<Widest<Number>>(number))) {}
  template <class Item>
  Json(const std::vector<Item>& items) : Json(of(std::vector<Json>(items.begin(), items.end()))) {}
  Json(const std::map<std::string, std::string>& texts);

  // On an object.
  void set(const std::string& key, const Json& value);

 private:
  friend class Fields;
  friend Result<Json> parse_json_object(std::string_view text, size_t max_bytes,
                                        const std::string& file);
  friend Result<std::string> dump_json(const Json& document, const std::string& what);
  friend std::string json_line(const Json& document);

  template <class Number>
  using Widest = std::conditional_t<std::is_signed_v<Number>, int64_t, uint64_t>;

  explicit Json(nlohmann::json&& value);
  static Json of(int64_t number);
  static Json of(uint64_t number);
  static Json of(const std::vector<Json>& items);

  std::shared_ptr<nlohmann::json> value_;  // never null, except when moved from
};

struct Json::Field {
  std::string key;
  Json value;
};

// Parses text of at most `max_bytes` and 16 levels into an object. No exception leaves it.
// Error: corrupt, naming `file`.
[[nodiscard]] Result<Json> parse_json_object(std::string_view text, size_t max_bytes,
                                             const std::string& file);
// The strings of an array of nothing else, at most 16 levels looked at; empty when it is not one.
[[nodiscard]] std::optional<std::vector<std::string>> parse_json_texts(std::string_view text);
// Error invalid_argument when a string is not UTF-8.
[[nodiscard]] Result<std::string> dump_json(const Json& document, const std::string& what);
// On one line, without its end; what is not UTF-8 is replaced by U+FFFD.
[[nodiscard]] std::string json_line(const Json& document);

// The first error of a document being read; shared by the readers of its parts.
struct FieldErrors {
  std::string file;
  std::optional<Error> first;

  void report(const std::string& field, const std::string& problem) {
    report(Error{ErrorCode::corrupt, file + ": \"" + field + "\" " + problem});
  }
  void report(Error error) {
    if (!first) first = std::move(error);
  }
};

// Fields of one object, which must outlive them. A missing field counts as an error unless the call
// says "or".
class Fields {
 public:
  Fields(const Json& object, FieldErrors& errors);

  // Of a record, before anything else is read: error corrupt when it has none, unsupported when it
  // is above `newest`. Fields that nobody asks for are passed over: what a reader must know raises
  // the schema (state/format_version.hpp).
  void schema(uint64_t newest) const;
  [[nodiscard]] std::string text(const char* key, size_t max_bytes) const;
  [[nodiscard]] uint64_t number(const char* key, uint64_t max) const;
  [[nodiscard]] uint64_t number_or(const char* key, uint64_t max, uint64_t fallback) const;
  [[nodiscard]] std::string digest(const char* key) const;
  [[nodiscard]] std::string digest_or_empty(const char* key) const;
  [[nodiscard]] std::string file_name(const char* key) const;
  [[nodiscard]] std::vector<std::string> texts(const char* key, size_t max_count,
                                               size_t max_bytes) const;
  [[nodiscard]] std::map<std::string, std::string> text_map(const char* key, size_t max_count,
                                                            size_t max_bytes) const;
  [[nodiscard]] std::vector<uint64_t> numbers(const char* key, size_t max_count,
                                              uint64_t max) const;
  // The object or the array of objects under `key`.
  [[nodiscard]] Fields child(const char* key) const;
  // For what may be missing.
  [[nodiscard]] bool has(const char* key) const { return find(key) != nullptr; }
  [[nodiscard]] std::vector<Fields> children(const char* key, size_t max_count) const;

  void report(const char* key, const std::string& problem) const {
    errors_->report(where_ + key, problem);
  }

 private:
  Fields(const nlohmann::json& object, FieldErrors& errors, std::string where)
      : object_(&object), errors_(&errors), where_(std::move(where)) {}
  [[nodiscard]] const nlohmann::json* find(const char* key) const;
  [[nodiscard]] const nlohmann::json& array(const char* key, size_t max_count) const;
  [[nodiscard]] std::string checked_text(const nlohmann::json& value, const char* key,
                                         size_t max_bytes) const;
  [[nodiscard]] uint64_t checked_number(const nlohmann::json& value, const char* key,
                                        uint64_t max) const;

  const nlohmann::json* object_;
  FieldErrors* errors_;
  std::string where_;
};

}  // namespace microvm::host
