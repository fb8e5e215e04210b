#include "agent/base/failed.hpp"

#include <cstring>

namespace microvm::agent {

std::string error_text(int error) {
  const char* description = strerrordesc_np(error);
  if (description == nullptr) return "error " + std::to_string(error);
  std::string text = description;
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z')
    text[0] = static_cast<char>(text[0] | 0x20);
  return text;
}

tl::unexpected<Failed> fail_errno(std::string what, int error) {
  return fail(std::move(what) + ": " + error_text(error), error);
}

}  // namespace microvm::agent
