// The name that a TCP flow shows, whichever protocol it speaks, and how much of what the guest
// sends is covered by it. Bounded: one flow keeps kMaxNameBytesOfFlow, and of one that is neither
// TLS nor HTTP nothing once it is decided.
#pragma once

#include <cstdint>
#include <variant>

#include "net/names/client_hello.hpp"
#include "net/names/http_requests.hpp"
#include "net/names/shown_name.hpp"

namespace microvm::net {

class FlowName {
 public:
  // Takes what came next from the guest, and tells what is known by then. A decision stays.
  const ShownName& feed(wire::ByteView bytes);

  // What is known so far.
  [[nodiscard]] const ShownName& shown() const { return shown_; }
  // Nothing that is still to come can show another name: it need not be fed any more.
  [[nodiscard]] bool covers_all() const;
  // If not: how many bytes from the first on are for this name, and whether others came behind.
  [[nodiscard]] uint64_t covered() const { return covered_; }
  [[nodiscard]] bool has_others() const;

 private:
  ShownName shown_;
  std::variant<std::monostate, ClientHello, HttpRequests> reader_;
  uint64_t covered_ = 0;
};

}  // namespace microvm::net
