// The binary form of an index of modules (modules.alias.bin …), as kmod's libkmod-index.c reads it:
//   u32 magic, u32 version, u32 root; all numbers with the high byte first. A node is where its
//   number's low 28 bits say, and has what the high ones say:
//     prefix   (bit 31)  text and a zero: what all keys below share
//     children (bit 29)  u8 first, u8 last, a u32 for each character between: the node there, or 0
//     values   (bit 30)  u32 count, of each: u32 priority, text and a zero
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace microvm::host {

class ModuleTrie {
 public:
  // ASCII; keys that are longer than any alias are left out.
  void add(std::string_view key, std::string_view value, uint32_t priority);
  // The whole file.
  [[nodiscard]] std::string write() const;

 private:
  using Values = std::vector<std::pair<uint32_t, std::string>>;

  std::map<std::string, Values> keys_;
};

}  // namespace microvm::host
