// Reading and writing bounded JSON: every field of a foreign document is asked for with its bound;
// the first one that breaks it decides the error.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace microvm::host {

// Parses text of at most `max_bytes` and 16 levels into an object. No exception leaves it.
// Error: corrupt, naming `file`.
[[nodiscard]] Result<nlohmann::json> parse_json_object(std::string_view text, size_t max_bytes,
                                                       const std::string& file);
// Error invalid_argument when a string is not UTF-8.
[[nodiscard]] Result<std::string> dump_json(const nlohmann::json& document,
                                            const std::string& what);

// The first error of a document being read; shared by the readers of its parts.
struct FieldErrors {
  std::string file;
  std::optional<Error> first;

  void report(const std::string& field, const std::string& problem) {
    if (!first) first = Error{ErrorCode::corrupt, file + ": \"" + field + "\" " + problem};
  }
};

// Fields of one object. A missing field counts as an error unless the call says "or".
class Fields {
 public:
  Fields(const nlohmann::json& object, FieldErrors& errors, std::string where = {})
      : object_(&object), errors_(&errors), where_(std::move(where)) {}

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
