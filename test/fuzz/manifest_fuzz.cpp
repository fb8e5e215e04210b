// Manifests: whatever is accepted must be written and read back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "host/store/manifest.hpp"
#include "host/store/names.hpp"

using namespace microvm::host;

namespace {

template <class Parse>
void round_trip(std::string_view text, Parse parse) {
  const auto manifest = parse(text, "manifest.json");
  if (!manifest) return;
  const auto written = encode_manifest(*manifest);
  if (!written) return;  // text that is not UTF-8
  const auto again = parse(*written, "manifest.json");
  if (!again || *encode_manifest(*again) != *written) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  round_trip(text, parse_kernel_manifest);
  round_trip(text, parse_base_manifest);
  round_trip(text, parse_image_manifest);
  (void)parse_image_reference(text);
  return 0;
}
