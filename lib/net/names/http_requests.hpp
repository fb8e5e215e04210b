// A connection of HTTP/1 as the guest sends it, request for request: a connection that was allowed
// by the name of its first request must not carry one for another name behind it. What goes out is
// told in bytes, so that they themselves may stay where they are.
#pragma once

#include <optional>
#include <string>

#include "net/names/http_head.hpp"

namespace microvm::net {

class HttpRequests {
 public:
  // Takes what came next, from the first byte on. How many bytes of all may go out by now: those of
  // a head only when it is whole and shows the same name as the first.
  uint64_t feed(wire::ByteView bytes);

  // What the first request shows. Decided before anything may go out.
  [[nodiscard]] const ShownName& shown() const { return first_; }
  // Something else than another request for the same name came. What may go out may; no more.
  [[nodiscard]] bool is_refused() const { return step_ == Step::refused; }
  // All that is to come may go out unseen: it is no HTTP any more.
  [[nodiscard]] bool is_tunnel() const { return step_ == Step::tunnel; }

 private:
  enum class Step : uint8_t {
    head,
    sized_body,
    chunk_size,
    chunk_data,  // with the line's end behind it
    trailer,
    upgrade,  // what comes next says whether the server is still spoken HTTP with
    tunnel,
    refused,
  };

  size_t take(wire::ByteView bytes);
  size_t take_head(wire::ByteView bytes);
  size_t take_data(wire::ByteView bytes);
  size_t take_line(char byte);
  size_t look_at_upgrade(std::byte first);
  void end_head();
  void end_chunk_size();
  void end_request();
  void refuse() { step_ = Step::refused; }

  Step step_ = Step::head;
  uint64_t fed_ = 0;
  uint64_t may_go_ = 0;
  HttpHead head_;
  ShownName first_;
  uint64_t data_left_ = 0;
  std::string line_;          // of a chunk's size or a trailer
  size_t trailer_bytes_ = 0;  // of all its lines
  std::string chunk_end_;     // what came of it
};

}  // namespace microvm::net
