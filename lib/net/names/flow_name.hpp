// The name that a TCP flow shows, whichever protocol it speaks. Bounded: one flow keeps
// kMaxNameBytesOfFlow, and nothing once it is decided.
#pragma once

#include <variant>

#include "net/names/client_hello.hpp"
#include "net/names/http_head.hpp"
#include "net/names/shown_name.hpp"

namespace microvm::net {

class FlowName {
 public:
  // Takes what came next from the guest, and tells what is known by then. Bytes after the decision
  // change nothing.
  const ShownName& feed(wire::ByteView bytes);

  // What is known so far.
  [[nodiscard]] const ShownName& shown() const { return shown_; }

 private:
  ShownName shown_;
  std::variant<std::monostate, ClientHello, HttpHead> reader_;
};

}  // namespace microvm::net
