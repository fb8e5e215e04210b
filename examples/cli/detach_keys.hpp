// The keys that leave a terminal session and let it go on.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cli {

inline constexpr const char* kDefaultDetachKeys = "ctrl-p,ctrl-q";

// "ctrl-p,ctrl-q" or "a,b" → the bytes; empty text: none. Nothing for what is no such list.
std::optional<std::string> parse_detach_keys(const std::string& text);

class DetachKeys {
 public:
  explicit DetachKeys(std::string sequence) : sequence_(std::move(sequence)) {}

  // What of it is for the program. A beginning of the sequence is held back until the next key.
  std::string filter(std::string_view typed);
  [[nodiscard]] bool complete() const { return complete_; }

 private:
  std::string sequence_;
  size_t matched_ = 0;
  bool complete_ = false;
};

}  // namespace cli
