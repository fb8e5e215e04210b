// The parser of HTTP heads: however the bytes are cut, the same is decided, and as much belongs to
// the head.
#include <cstdlib>

#include "net/names/domain_name.hpp"
#include "net/names/flow_name.hpp"

using namespace microvm;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const size_t cut = std::min<size_t>(data[0], bytes.size());
  net::HttpHead whole;
  const size_t taken = whole.feed(bytes);
  net::HttpHead parts;
  size_t taken_in_parts = parts.feed(bytes.first(cut));
  taken_in_parts += parts.feed(bytes.subspan(cut));
  const net::ShownName& shown = whole.shown();
  if (taken != taken_in_parts || shown.kind != parts.shown().kind) std::abort();
  if (shown.name != parts.shown().name) std::abort();
  if (!shown.name.empty() && net::canonical_name(shown.name) != shown.name) std::abort();
  if (bytes.size() >= net::kMaxNameBytesOfFlow && !shown.is_decided()) std::abort();
  (void)net::FlowName().feed(bytes);
  return 0;
}
