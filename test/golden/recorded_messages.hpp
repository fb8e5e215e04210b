// Messages of the control wire as a library of version 1 encodes them: test/golden/worker-v1.
#pragma once

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <string>

#include "wire/bytes.hpp"

namespace microvm::test {

inline wire::Bytes from_hex(const std::string& hex) {
  wire::Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

inline std::map<std::string, wire::Bytes> recorded_messages() {
  std::ifstream file(std::string(MICROVM_GOLDEN_PATH) + "/worker-v1/messages.txt");
  std::map<std::string, wire::Bytes> recorded;
  std::string name;
  std::string hex;
  while (file >> name >> hex) recorded[name] = from_hex(hex);
  REQUIRE_FALSE(recorded.empty());
  return recorded;
}

}  // namespace microvm::test
