// Dockerfiles and what is in them: parser, word splitting, expansion, ignore rules.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "host/image/dockerfile.hpp"
#include "host/image/expand.hpp"
#include "host/image/pattern.hpp"

using namespace microvm::host;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto file = parse_dockerfile(text, "Dockerfile");
  if (!file) return 0;
  for (const Instruction& instruction : file->instructions) {
    for (const std::string& argument : instruction.args) {
      const auto words = split_words(argument, file->escape);
      if (!words) continue;
      for (const std::string& word : *words) {
        (void)expand_word(word, file->escape,
                          [](const std::string& name) { return std::optional(name); });
      }
    }
  }
  (void)IgnoreRules::parse(text).ignores("a/b/c");
  return 0;
}
