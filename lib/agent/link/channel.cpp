#include "agent/link/channel.hpp"

#include <pb_decode.h>
#include <pb_encode.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "agent/base/time.hpp"

namespace microvm::agent {
namespace {

constexpr int kLeaveTimeoutMs = 1000;
// A vsock does not wait for as much as its buffer holds, or more: ENOMEM.
constexpr size_t kMaxReadBytes = 64 * 1024;

std::string frame_name(FrameType type) {
  return "frame of type " + std::to_string(static_cast<unsigned>(type));
}

}  // namespace

size_t encode_frame(std::span<std::byte> out, FrameType type, const pb_msgdesc_t* fields,
                    const void* message) {
  const auto body = out.subspan(FrameHeader::kSize);
  pb_ostream_t stream =
      pb_ostream_from_buffer(reinterpret_cast<pb_byte_t*>(body.data()), body.size());
  // Fails only for text fields without their end, and copy_text always writes it.
  if (!pb_encode(&stream, fields, message)) return 0;
  const FrameHeader header{.body_size = static_cast<uint32_t>(stream.bytes_written), .type = type};
  const auto encoded = header.encode();
  std::copy(encoded.begin(), encoded.end(), out.begin());
  return FrameHeader::kSize + stream.bytes_written;
}

bool decode_message(std::span<const std::byte> body, const pb_msgdesc_t* fields, void* message) {
  pb_istream_t stream =
      pb_istream_from_buffer(reinterpret_cast<const pb_byte_t*>(body.data()), body.size());
  return pb_decode(&stream, fields, message);
}

void copy_text(std::span<char> field, const std::string& text) {
  size_t size = std::min(field.size() - 1, text.size());
  const auto is_continuation = [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
  };
  while (size > 0 && size < text.size() && is_continuation(text[size])) size--;
  std::copy_n(text.begin(), size, field.begin());
  field[size] = '\0';
}

microvm_agent_Failure to_message(const Failed& failure) {
  microvm_agent_Failure message = microvm_agent_Failure_init_zero;
  message.error = failure.error;
  copy_text(message.message, failure.message);
  return message;
}

Outcome<void> Channel::read_exactly(std::span<std::byte> out) {
  while (!out.empty()) {
    const auto piece = out.first(std::min(out.size(), kMaxReadBytes));
    const ssize_t count = recv(connection_.get(), piece.data(), piece.size(), MSG_WAITALL);
    if (count < 0 && errno == EINTR) continue;
    broken_ = count <= 0;
    was_reset_ = count < 0;
    if (count < 0) return fail_errno("read from the host");
    if (count == 0) return fail("the host closed the connection", ECONNRESET);
    out = out.subspan(static_cast<size_t>(count));
  }
  return {};
}

Outcome<FrameHeader> Channel::read_header() {
  std::array<std::byte, FrameHeader::kSize> bytes{};
  if (auto read = read_exactly(bytes); !read) return fail(read.error());
  const FrameHeader header = FrameHeader::decode(bytes);
  if (header.body_size > wire::kMaxFrameBody)
    return fail(frame_name(header.type) + " has " + std::to_string(header.body_size) + " bytes",
                EMSGSIZE);
  return header;
}

Outcome<std::vector<std::byte>> Channel::read_body(const FrameHeader& header) {
  std::vector<std::byte> body(header.body_size);
  if (auto read = read_exactly(body); !read) return fail(read.error());
  return body;
}

Outcome<std::vector<std::byte>> Channel::read_frame(FrameType expected) {
  const auto header = read_header();
  if (!header) return fail(header.error());
  if (header->type != expected)
    return fail("unexpected " + frame_name(header->type) + ", not " + frame_name(expected), EPROTO);
  return read_body(*header);
}

bool Channel::send_bytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = send(connection_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return true;
}

bool Channel::send_message(FrameType type, const pb_msgdesc_t* fields, const void* message) {
  std::array<std::byte, FrameHeader::kSize + kMaxMessageBytes> frame{};
  const size_t size = encode_frame(frame, type, fields, message);
  return size != 0 && send_bytes(std::span(frame).first(size));
}

bool Channel::send_empty(FrameType type) {
  return send_bytes(FrameHeader{.body_size = 0, .type = type}.encode());
}

bool Channel::send_failure(const Failed& failure) {
  const microvm_agent_Failure message = to_message(failure);
  return send_message(FrameType::failed, microvm_agent_Failure_fields, &message);
}

bool Channel::send_outcome(const Outcome<void>& outcome) {
  return outcome ? send_empty(FrameType::ok) : send_failure(outcome.error());
}

void Channel::close_gently() {
  shutdown(connection_.get(), SHUT_WR);
  const auto deadline = Deadline::after_ms(kLeaveTimeoutMs);
  std::array<std::byte, 4096> discarded{};
  while (!deadline.passed()) {
    pollfd wait{.fd = connection_.get(), .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, deadline.poll_timeout_ms()) <= 0) break;
    if (recv(connection_.get(), discarded.data(), discarded.size(), MSG_DONTWAIT) <= 0) break;
  }
  connection_.reset();
}

bool Channel::host_gone() const {
  pollfd state{.fd = connection_.get(), .events = POLLRDHUP, .revents = 0};
  return poll(&state, 1, 0) > 0;
}

bool Channel::wait_closed() {
  std::byte ignored{};
  for (;;) {
    const ssize_t count = recv(connection_.get(), &ignored, 1, 0);
    if (count == 0) return true;
    if (count < 0 && errno != EINTR) return false;
  }
}

}  // namespace microvm::agent
