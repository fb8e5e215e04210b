// The ClientHello parser: however the bytes are cut, the same is decided.
#include <cstdlib>

#include "net/names/client_hello.hpp"

using namespace microvm;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const size_t cut = std::min<size_t>(data[0], bytes.size());
  const net::ShownName whole = net::ClientHello().feed(bytes);
  net::ClientHello in_parts;
  (void)in_parts.feed(bytes.first(cut));
  const net::ShownName parts = in_parts.feed(bytes.subspan(cut));
  if (whole.kind != parts.kind || whole.name != parts.name) std::abort();
  if ((whole.kind == net::ShownName::Kind::name) == whole.name.empty()) std::abort();
  if (size > net::kMaxNameBytesOfFlow + 1 && !whole.is_decided()) std::abort();
  return 0;
}
