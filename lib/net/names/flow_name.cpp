#include "net/names/flow_name.hpp"

namespace microvm::net {

const ShownName& FlowName::feed(wire::ByteView bytes) {
  if (bytes.empty() || shown_.is_decided()) return shown_;
  if (std::holds_alternative<std::monostate>(reader_)) {
    if (ClientHello::may_begin_with(bytes[0])) {
      reader_.emplace<ClientHello>();
    } else {
      reader_.emplace<HttpHead>();
    }
  }
  if (auto* hello = std::get_if<ClientHello>(&reader_)) {
    shown_ = hello->feed(bytes);
  } else {
    auto& head = std::get<HttpHead>(reader_);
    (void)head.feed(bytes);
    shown_ = head.shown();
  }
  if (shown_.is_decided()) reader_ = std::monostate();
  return shown_;
}

}  // namespace microvm::net
