#include "host/store/names.hpp"

#include <algorithm>
#include <charconv>

namespace microvm::host {

namespace {

constexpr size_t kMaxNameBytes = 128;

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_letter_or_digit(char c) {
  return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

bool is_one_of(char c, std::string_view set) {
  return set.find(c) != std::string_view::npos;
}

template <class First, class Rest>
bool matches(std::string_view text, First first, Rest rest) {
  return !text.empty() && text.size() <= kMaxNameBytes && first(text.front()) &&
         std::ranges::all_of(text.substr(1), rest);
}

bool is_tag(std::string_view tag) {
  return matches(
      tag, [](char c) { return is_letter_or_digit(c) || c == '_'; },
      [](char c) { return is_letter_or_digit(c) || is_one_of(c, "._-"); });
}

}  // namespace

bool is_image_name(std::string_view name) noexcept {
  return matches(name, is_lower_or_digit,
                 [](char c) { return is_lower_or_digit(c) || is_one_of(c, "._/-"); });
}

bool is_base_name(std::string_view name) noexcept {
  const size_t colon = name.find(':');
  if (colon == std::string_view::npos) return is_image_name(name);
  return is_image_name(name.substr(0, colon)) && is_tag(name.substr(colon + 1));
}

bool is_vm_id(std::string_view id) noexcept {
  return id.size() == 12 && std::ranges::all_of(id, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool is_plain_file_name(std::string_view name) noexcept {
  return matches(name, is_letter_or_digit,
                 [](char c) { return is_letter_or_digit(c) || is_one_of(c, "._+-"); });
}

std::optional<uint64_t> parse_version(std::string_view text) noexcept {
  uint64_t version = 0;
  const char* begin = text.data();
  const char* end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, version);
  constexpr uint64_t kMaxVersion = 1'000'000'000'000'000;
  if (error != std::errc{} || stop != end || text.front() == '0' || version > kMaxVersion)
    return std::nullopt;
  return version;
}

Result<ImageReference> parse_image_reference(std::string_view text) {
  const size_t colon = text.find(':');
  ImageReference reference{std::string(text.substr(0, colon)), 0};
  if (!is_image_name(reference.name))
    return base::fail(ErrorCode::invalid_argument,
                      "image name \"" + reference.name +
                          "\": use lower-case letters, digits and ._/- (at most 128)");
  if (colon == std::string_view::npos) return reference;
  const auto version = parse_version(text.substr(colon + 1));
  if (!version)
    return base::fail(ErrorCode::invalid_argument,
                      "image \"" + std::string(text) + "\": a version is a number like 1");
  reference.version = *version;
  return reference;
}

std::string name_to_file(std::string_view name) {
  std::string file(name);
  std::ranges::replace(file, '/', '%');
  return file;
}

std::string file_to_name(std::string_view file) {
  std::string name(file);
  std::ranges::replace(name, '%', '/');
  return name;
}

}  // namespace microvm::host
