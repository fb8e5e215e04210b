// The one message that begins most operations.
#pragma once

#include <string>

#include "agent/link/channel.hpp"

namespace microvm::agent {

// `what` it asks for is named in the error.
template <class Message>
[[nodiscard]] Outcome<Message> read_request(Channel& channel, const FrameHeader& header,
                                            const pb_msgdesc_t* fields, const char* what) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  Message message{};
  if (!decode_message(*body, fields, &message))
    return fail("the request to " + std::string(what) + " is not readable", EPROTO);
  return message;
}

}  // namespace microvm::agent
