#include "host/base/printable.hpp"

namespace microvm::host {

std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text.substr(0, 1024)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n' || c == '\t') {
      line += ' ';
    } else if (byte >= 0x20 && byte != 0x7f) {
      line += c;
    }
  }
  return line;
}

}  // namespace microvm::host
