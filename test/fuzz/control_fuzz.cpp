// The control wire's decoder: whatever decodes must encode to something that decodes again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "wire/control.hpp"

using namespace microvm::wire;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto envelope = decode(std::as_bytes(std::span(data, size)));
  if (!envelope || std::holds_alternative<UnknownMessage>(envelope->message)) return 0;
  const auto again = encode(*envelope);
  if (!again || !decode(*again)) std::abort();
  return 0;
}
