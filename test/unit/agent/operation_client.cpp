#include "unit/agent/operation_client.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "agent/operation/operation.hpp"

namespace microvm::agent {
namespace {

constexpr int kReadTimeoutMs = 10'000;
constexpr int kFullAfterMs = 500;

std::string join(const std::vector<std::string>& strings) {
  std::string joined;
  for (const auto& text : strings) joined += text + '\0';
  return joined;
}

}  // namespace

TestGuest::TestGuest() {
  signal(SIGPIPE, SIG_IGN);  // as the agent does when it boots
  root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  freezer.thaw();
}

TestGuest::~TestGuest() {
  ::close(root_fd);
}

OperationClient::OperationClient(Guest& guest) {
  std::array<int, 2> fds{};
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data());
  host_.reset(fds[0]);
  agent_ = std::thread([&guest, fd = fds[1]] { serve_operation(guest, base::Fd(fd)); });
}

OperationClient::~OperationClient() {
  host_.reset();
  agent_.join();
}

OperationClient& OperationClient::send(FrameType type, std::string_view body) {
  const auto header =
      FrameHeader{.body_size = static_cast<uint32_t>(body.size()), .type = type}.encode();
  send_raw({reinterpret_cast<const char*>(header.data()), header.size()});
  send_raw(body);
  return *this;
}

OperationClient& OperationClient::send_message(FrameType type, const pb_msgdesc_t* fields,
                                               const void* message) {
  std::array<std::byte, 16 * 1024> frame{};
  const size_t size = encode_frame(frame, type, fields, message);
  send_raw({reinterpret_cast<const char*>(frame.data()), size});
  return *this;
}

void OperationClient::send_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(host_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void OperationClient::fill_stdin() {
  const auto header =
      FrameHeader{.body_size = wire::kDataChunk, .type = FrameType::stdin_data}.encode();
  std::string frame(reinterpret_cast<const char*>(header.data()), header.size());
  frame.append(wire::kDataChunk, 'x');
  pollfd room{.fd = host_.get(), .events = POLLOUT, .revents = 0};
  for (size_t at = 0; poll(&room, 1, kFullAfterMs) > 0; at %= frame.size()) {
    const ssize_t count =
        ::send(host_.get(), frame.data() + at, frame.size() - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) return;
    if (count > 0) at += static_cast<size_t>(count);
  }
}

bool OperationClient::read_exactly(char* out, size_t size) {
  while (size > 0) {
    pollfd wait{.fd = host_.get(), .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, kReadTimeoutMs) <= 0) return false;
    const ssize_t count = recv(host_.get(), out, size, 0);
    if (count <= 0) return false;
    out += count;
    size -= static_cast<size_t>(count);
  }
  return true;
}

std::optional<Frame> OperationClient::read() {
  std::array<std::byte, FrameHeader::kSize> bytes{};
  if (!read_exactly(reinterpret_cast<char*>(bytes.data()), bytes.size())) return std::nullopt;
  const auto header = FrameHeader::decode(bytes);
  Frame frame{header.type, std::string(header.body_size, '\0')};
  if (!read_exactly(frame.body.data(), frame.body.size())) return std::nullopt;
  return frame;
}

void send_exec(OperationClient& client, const ExecOptions& options, FrameType type) {
  microvm_agent_ExecRequest request = microvm_agent_ExecRequest_init_zero;
  copy_text(request.cwd, options.cwd);
  copy_text(request.user, options.user);
  request.timeout_ms = options.timeout_ms;
  request.stdin_open = options.stdin_open;
  client.send_message(type, microvm_agent_ExecRequest_fields, &request);
  client.send(FrameType::arguments, join(options.argv));
  client.send(FrameType::environment, join(options.env));
}

ExecOutcome read_exec(OperationClient& client) {
  ExecOutcome outcome;
  while (const auto frame = client.read()) {
    if (frame->type == FrameType::started) outcome.started = true;
    if (frame->type == FrameType::stdout_data) outcome.out += frame->body;
    if (frame->type == FrameType::stderr_data) outcome.err += frame->body;
    if (frame->type == FrameType::exited)
      outcome.exited = decode<microvm_agent_Exited>(*frame, microvm_agent_Exited_fields);
    if (frame->type == FrameType::failed) outcome.failure = failure_of(frame);
    if (outcome.exited || outcome.failure) break;
  }
  return outcome;
}

ExecOutcome exec(Guest& guest, const ExecOptions& options) {
  OperationClient client(guest);
  send_exec(client, options);
  return read_exec(client);
}

std::optional<microvm_agent_Failure> failure_of(const std::optional<Frame>& frame) {
  if (!frame || frame->type != FrameType::failed) return std::nullopt;
  return decode<microvm_agent_Failure>(*frame, microvm_agent_Failure_fields);
}

}  // namespace microvm::agent
