#include "detach_keys.hpp"

namespace cli {
namespace {

std::optional<char> parse_key(std::string_view text) {
  if (text.size() == 1) return text[0];
  if (text.size() != 6 || !text.starts_with("ctrl-")) return std::nullopt;
  const char key = text[5];
  if (key >= 'a' && key <= 'z') return static_cast<char>(key - 'a' + 1);
  if (key >= '@' && key <= '_') return static_cast<char>(key - '@');
  return std::nullopt;
}

}  // namespace

std::optional<std::string> parse_detach_keys(const std::string& text) {
  std::string keys;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = rest.find(',');
    const auto key = parse_key(rest.substr(0, end));
    if (!key) return std::nullopt;
    keys.push_back(*key);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return keys;
}

std::string DetachKeys::filter(std::string_view typed) {
  std::string out;
  for (const char key : typed) {
    if (!sequence_.empty() && key == sequence_[matched_]) {
      complete_ = ++matched_ == sequence_.size();
      if (complete_) return out;
      continue;
    }
    out.append(sequence_, 0, matched_);
    matched_ = !sequence_.empty() && key == sequence_[0] ? 1 : 0;
    if (matched_ == 0) out.push_back(key);
  }
  return out;
}

}  // namespace cli
