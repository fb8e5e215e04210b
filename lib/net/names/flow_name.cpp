#include "net/names/flow_name.hpp"

namespace microvm::net {

const ShownName& FlowName::feed(wire::ByteView bytes) {
  if (bytes.empty() || covers_all()) return shown_;
  if (std::holds_alternative<std::monostate>(reader_)) {
    if (ClientHello::may_begin_with(bytes[0])) {
      reader_.emplace<ClientHello>();
    } else {
      reader_.emplace<HttpRequests>();
    }
  }
  if (auto* hello = std::get_if<ClientHello>(&reader_)) {
    shown_ = hello->feed(bytes);
  } else {
    auto& requests = std::get<HttpRequests>(reader_);
    covered_ = requests.feed(bytes);
    shown_ = requests.shown();
  }
  if (covers_all()) reader_ = std::monostate();
  return shown_;
}

// TLS and other protocols show one name at most; HTTP one with each request.
bool FlowName::covers_all() const {
  if (!shown_.is_decided()) return false;
  const auto* requests = std::get_if<HttpRequests>(&reader_);
  if (requests == nullptr || requests->is_tunnel()) return true;
  return shown_.kind != ShownName::Kind::name && shown_.kind != ShownName::Kind::no_name;
}

bool FlowName::has_others() const {
  const auto* requests = std::get_if<HttpRequests>(&reader_);
  return requests != nullptr && requests->is_refused();
}

}  // namespace microvm::net
