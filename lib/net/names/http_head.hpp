// The head of an HTTP/1 request (RFC 9112), as the guest sends it, cut anywhere: the name that it
// is meant for, and how much belongs to the request behind it. Strict where servers differ: what
// one could read as another name, or as another end of the request, than we do is undecidable.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "net/names/shown_name.hpp"
#include "wire/bytes.hpp"

namespace microvm::net {

class HttpHead {
 public:
  // What follows the head.
  struct Body {
    enum class Form : uint8_t { sized, chunked, tunnel };
    Form form = Form::sized;
    uint64_t bytes = 0;  // sized
  };

  // Takes what came next, up to the end of the head at most; returns how many bytes. None once it
  // is decided.
  size_t feed(wire::ByteView bytes);

  [[nodiscard]] const ShownName& shown() const { return shown_; }
  // Of one that is decided, and neither undecidable nor of another protocol.
  [[nodiscard]] const Body& body() const { return body_; }

 private:
  void take_byte(char byte);
  void take_byte_of_request_line(char byte);
  void take_line();
  void read_request_line();
  void read_field();
  void keep_field(std::string_view name, std::string_view value);
  void finish();
  [[nodiscard]] ShownName name_of_target() const;
  void decide(ShownName::Kind kind) { shown_.kind = kind; }

  ShownName shown_;
  Body body_;
  size_t fed_ = 0;
  std::string line_;  // that is coming, with its end
  bool method_ended_ = false;
  bool has_request_line_ = false;

  std::string method_;
  std::string target_;
  bool is_http_1_0_ = false;
  std::optional<std::string> host_;
  std::optional<uint64_t> content_length_;
  bool is_chunked_ = false;
  bool wants_upgrade_ = false;
};

}  // namespace microvm::net
