// The bodies of the agent wire (lib/wire/agent.proto) to and from bytes.
#pragma once

#include <pb_decode.h>
#include <pb_encode.h>

#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "host/base/printable.hpp"
#include "microvm/exec.hpp"
#include "wire/agent.pb.h"
#include "wire/bytes.hpp"

namespace microvm::host {

// Bounded by the schema's sizes; a message of ours never needs more.
inline constexpr size_t kMaxMessageBytes = 16 * 1024;

template <class T>
wire::Bytes encode_message(const T& message) {
  wire::Bytes bytes(kMaxMessageBytes);
  auto stream = pb_ostream_from_buffer(reinterpret_cast<pb_byte_t*>(bytes.data()), bytes.size());
  const bool ok = pb_encode(&stream, nanopb::MessageDescriptor<T>::fields(), &message);
  bytes.resize(ok ? stream.bytes_written : 0);
  return bytes;
}

template <class T>
Result<T> decode_message(wire::ByteView bytes) {
  T message{};
  auto stream =
      pb_istream_from_buffer(reinterpret_cast<const pb_byte_t*>(bytes.data()), bytes.size());
  if (!pb_decode(&stream, nanopb::MessageDescriptor<T>::fields(), &message)) {
    return base::fail(ErrorCode::protocol, "the agent sent a message that can not be read");
  }
  return message;
}

// Fills a bounded text field. Error: invalid_argument naming the field.
template <size_t N>
Result<void> set_text(char (&field)[N], std::string_view text, std::string_view name) {
  if (text.size() >= N || text.find('\0') != std::string_view::npos) {
    return base::fail(
        ErrorCode::invalid_argument,
        std::string(name) + " must be text of less than " + std::to_string(N) + " bytes");
  }
  text.copy(field, text.size());
  field[text.size()] = '\0';
  return {};
}

// What every guest needs that stood still: fresh entropy and the time as it is now.
inline void set_seed_and_clock(microvm_agent_Identity& message,
                               std::span<const std::byte, 64> seed) {
  static_assert(sizeof message.seed.bytes >= 64);
  message.seed.size = static_cast<pb_size_t>(seed.size());
  std::memcpy(message.seed.bytes, seed.data(), seed.size());
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  message.realtime_ns = std::chrono::nanoseconds(now).count();
}

// A text of the guest for a message or a log; a hostile one need not end within its field.
template <size_t N>
std::string guest_text(const char (&field)[N]) {
  return printable({field, ::strnlen(field, N)}, N);
}

[[nodiscard]] inline ExitStatus to_exit_status(const microvm_agent_Exited& exited) {
  return {exited.code, static_cast<int>(exited.signal), exited.timed_out,
          guest_text(exited.message)};
}

}  // namespace microvm::host
