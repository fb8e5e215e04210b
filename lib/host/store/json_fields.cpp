#include "host/store/json_fields.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/store/digest.hpp"
#include "host/store/names.hpp"
#include "state/format_version.hpp"

namespace microvm::host {

using nlohmann::json;

namespace {

constexpr int kMaxDepth = 16;

const json& empty_array() {
  static const json kEmpty = json::array();
  return kEmpty;
}

const json& empty_object() {
  static const json kEmpty = json::object();
  return kEmpty;
}

// Before the parser sees it: the depth of brackets outside of strings.
bool depth_fits(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return false;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return true;
}

// Discarded when it is not JSON.
json parse(std::string_view text) {
  try {
    return json::parse(text, nullptr, /*allow_exceptions=*/false);
  } catch (const json::exception&) {
    return json::value_t::discarded;  // numbers out of range and the like
  }
}

}  // namespace

Json::Json(json&& value) : value_(std::make_shared<json>(std::move(value))) {}

Json::Json() : Json(json(nullptr)) {}

Json::Json(const std::string& text) : Json(json(text)) {}

Json::Json(const char* text) : Json(json(text)) {}

Json::Json(const std::map<std::string, std::string>& texts) : Json(json(texts)) {}

Json::Json(std::initializer_list<Field> fields) : Json(json::object()) {
  for (const Field& field : fields) value_->emplace(field.key, *field.value.value_);
}

Json Json::of(int64_t number) {
  return Json(json(number));
}

Json Json::of(uint64_t number) {
  return Json(json(number));
}

Json Json::of(const std::vector<Json>& items) {
  json array = json::array();
  for (const Json& item : items) array.push_back(*item.value_);
  return Json(std::move(array));
}

void Json::set(const std::string& key, const Json& value) {
  if (value_.use_count() > 1) value_ = std::make_shared<json>(*value_);
  (*value_)[key] = *value.value_;
}

Result<Json> parse_json_object(std::string_view text, size_t max_bytes, const std::string& file) {
  if (text.size() > max_bytes)
    return base::fail(ErrorCode::corrupt,
                      file + ": larger than " + std::to_string(max_bytes) + " bytes");
  if (!depth_fits(text)) return base::fail(ErrorCode::corrupt, file + ": nested too deeply");
  json document = parse(text);
  if (!document.is_object())
    return base::fail(ErrorCode::corrupt, file + ": not a JSON object (damaged or cut short)");
  return Json(std::move(document));
}

std::optional<std::vector<std::string>> parse_json_texts(std::string_view text) {
  if (!depth_fits(text)) return std::nullopt;
  const json document = parse(text);
  const auto is_text = [](const json& item) { return item.is_string(); };
  if (!document.is_array() || !std::ranges::all_of(document, is_text)) return std::nullopt;
  return document.get<std::vector<std::string>>();
}

Result<std::string> dump_json(const Json& document, const std::string& what) {
  try {
    return document.value_->dump(2) + "\n";
  } catch (const json::exception&) {
    return base::fail(ErrorCode::invalid_argument, what + ": holds text that is not UTF-8");
  }
}

std::string json_line(const Json& document) {
  return document.value_->dump(-1, ' ', false, json::error_handler_t::replace);
}

Fields::Fields(const Json& object, FieldErrors& errors) : Fields(*object.value_, errors, {}) {}

const json* Fields::find(const char* key) const {
  const auto it = object_->find(key);
  return it == object_->end() ? nullptr : &*it;
}

std::string Fields::checked_text(const json& value, const char* key, size_t max_bytes) const {
  const auto* text = value.get_ptr<const std::string*>();
  if (text == nullptr) {
    report(key, "is not a string");
  } else if (text->size() > max_bytes) {
    report(key, "is longer than " + std::to_string(max_bytes) + " bytes");
  } else if (text->find('\0') != std::string::npos) {
    report(key, "holds a zero byte");
  } else {
    return *text;
  }
  return {};
}

uint64_t Fields::checked_number(const json& value, const char* key, uint64_t max) const {
  const auto* number = value.get_ptr<const json::number_unsigned_t*>();
  if (number == nullptr) {
    report(key, "is not a whole number");
  } else if (*number > max) {
    report(key, "is larger than " + std::to_string(max));
  } else {
    return *number;
  }
  return 0;
}

void Fields::schema(uint64_t newest) const {
  constexpr const char* kKey = "schema";
  const json* value = find(kKey);
  if (value == nullptr) return report(kKey, "is missing");
  const auto* number = value->get_ptr<const json::number_unsigned_t*>();
  if (number == nullptr) return report(kKey, "is not a whole number");
  const auto known = state::check_version(errors_->file, *number, newest, kKey);
  if (!known) errors_->report(known.error());
}

std::string Fields::text(const char* key, size_t max_bytes) const {
  if (const json* value = find(key)) return checked_text(*value, key, max_bytes);
  report(key, "is missing");
  return {};
}

uint64_t Fields::number(const char* key, uint64_t max) const {
  if (const json* value = find(key)) return checked_number(*value, key, max);
  report(key, "is missing");
  return 0;
}

uint64_t Fields::number_or(const char* key, uint64_t max, uint64_t fallback) const {
  return find(key) != nullptr ? number(key, max) : fallback;
}

std::string Fields::digest(const char* key) const {
  auto value = text(key, 64);
  if (!is_sha256_hex(value)) report(key, "is not a sha256");
  return value;
}

std::string Fields::digest_or_empty(const char* key) const {
  if (find(key) == nullptr) return {};
  return digest(key);
}

std::string Fields::file_name(const char* key) const {
  auto value = text(key, 128);
  if (!is_plain_file_name(value)) report(key, "is not a plain file name");
  return value;
}

const json& Fields::array(const char* key, size_t max_count) const {
  const json* value = find(key);
  if (value == nullptr || !value->is_array()) {
    report(key, "is not a list");
  } else if (value->size() > max_count) {
    report(key, "has more than " + std::to_string(max_count) + " items");
  } else {
    return *value;
  }
  return empty_array();
}

std::vector<std::string> Fields::texts(const char* key, size_t max_count, size_t max_bytes) const {
  std::vector<std::string> all;
  for (const json& item : array(key, max_count)) all.push_back(checked_text(item, key, max_bytes));
  return all;
}

std::vector<uint64_t> Fields::numbers(const char* key, size_t max_count, uint64_t max) const {
  std::vector<uint64_t> all;
  for (const json& item : array(key, max_count)) all.push_back(checked_number(item, key, max));
  return all;
}

std::map<std::string, std::string> Fields::text_map(const char* key, size_t max_count,
                                                    size_t max_bytes) const {
  std::map<std::string, std::string> all;
  const json* value = find(key);
  if (value == nullptr || !value->is_object() || value->size() > max_count) {
    report(key, "is not an object of at most " + std::to_string(max_count) + " fields");
    return all;
  }
  for (const auto& [name, item] : value->items()) {
    if (name.size() > max_bytes) report(key, "has a name that is too long");
    all.emplace(name, checked_text(item, key, max_bytes));
  }
  return all;
}

Fields Fields::child(const char* key) const {
  const json* value = find(key);
  if (value != nullptr && value->is_object()) return {*value, *errors_, where_ + key + "."};
  report(key, "is not an object");
  return {empty_object(), *errors_, where_ + key + "."};
}

std::vector<Fields> Fields::children(const char* key, size_t max_count) const {
  std::vector<Fields> all;
  for (const json& item : array(key, max_count)) {
    if (!item.is_object()) report(key, "holds something that is not an object");
    all.push_back({item.is_object() ? item : empty_object(), *errors_, where_ + key + "."});
  }
  return all;
}

}  // namespace microvm::host
