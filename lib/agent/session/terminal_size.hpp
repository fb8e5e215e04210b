// Rows and columns of a terminal.
#pragma once

#include <algorithm>
#include <cstdint>

namespace microvm::agent {

struct TerminalSize {
  uint16_t rows = 0;  // 0: not said
  uint16_t columns = 0;

  // What the wire says, cut to what a terminal can have.
  [[nodiscard]] static TerminalSize from_wire(uint32_t rows, uint32_t columns) {
    constexpr uint32_t kMost = UINT16_MAX;
    return {static_cast<uint16_t>(std::min(rows, kMost)),
            static_cast<uint16_t>(std::min(columns, kMost))};
  }
  [[nodiscard]] bool said() const { return rows != 0 && columns != 0; }
  bool operator==(const TerminalSize&) const = default;
};

}  // namespace microvm::agent
