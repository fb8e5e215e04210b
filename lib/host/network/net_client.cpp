#include "host/network/net_client.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <array>

#include "host/base/printable.hpp"
#include "host/store/files.hpp"
#include "host/store/rfc3339.hpp"
#include "sys/socket.hpp"

namespace microvm::host {
namespace {

constexpr const char* kNetProcess = "the network process";
constexpr size_t kMaxReasonText = 512;

base::Failure net_failure(const wire::NetError& error) {
  const bool known = error.code >= 1 && error.code <= static_cast<uint32_t>(ErrorCode::internal);
  return base::fail(known ? static_cast<ErrorCode>(error.code) : ErrorCode::internal,
                    std::string(kNetProcess) + ": " + printable(error.message));
}

base::Failure net_protocol_failure() {
  return base::fail(ErrorCode::protocol, std::string(kNetProcess) + " sent what can not be read");
}

std::string printed_address(const std::array<uint8_t, 16>& address) {
  constexpr std::array<uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const bool is_ipv4 = std::equal(kMapped.begin(), kMapped.end(), address.begin());
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* from = is_ipv4 ? address.data() + kMapped.size() : address.data();
  return ::inet_ntop(is_ipv4 ? AF_INET : AF_INET6, from, text.data(), text.size());
}

std::string protocol_name(wire::FlowProtocol protocol) {
  if (protocol == wire::FlowProtocol::tcp) return "tcp";
  if (protocol == wire::FlowProtocol::udp) return "udp";
  return protocol == wire::FlowProtocol::icmp ? "icmp" : "";
}

// A request without an answer of its own: NetOk.
Result<void> check_done(const Result<wire::NetMessage>& reply) {
  if (!reply) return base::fail(reply.error());
  if (std::holds_alternative<wire::NetOk>(*reply)) return {};
  return net_protocol_failure();
}

}  // namespace

Result<std::optional<NetClient>> NetClient::connect(const std::filesystem::path& vm_dir) {
  const auto directory = open_file(vm_dir, O_PATH | O_DIRECTORY);
  if (!directory) return base::fail(directory.error());
  auto socket =
      sys::connect_unix_at_once(directory->get(), wire::kNetSocket, sys::SocketKind::seqpacket);
  if (socket) return NetClient(std::move(*socket));
  const ErrorCode code = socket.error().code;
  if (code == ErrorCode::not_found || code == ErrorCode::connection_refused) return std::nullopt;
  return base::fail(code, std::string(kNetProcess) + ": " + socket.error().message);
}

Result<std::optional<wire::NetMessage>> NetClient::receive() {
  const auto message =
      sys::receive_message(socket_.get(), {.bytes = wire::kMaxNetMessage, .fds = 0});
  if (!message) {
    if (message.error().code == ErrorCode::busy) return std::nullopt;
    if (message.error().code != ErrorCode::vm_gone) return base::fail(message.error());
    return base::fail(ErrorCode::vm_gone, std::string(kNetProcess) + " has ended");
  }
  auto decoded = wire::decode_net(message->bytes);
  if (!decoded && decoded.error().code == ErrorCode::unsupported) {
    return base::fail(
        ErrorCode::unsupported,
        std::string(kNetProcess) + " is of another version: " + "use the library that started it");
  }
  if (!decoded) return net_protocol_failure();
  if (const auto* error = std::get_if<wire::NetError>(&*decoded)) return net_failure(*error);
  return std::move(*decoded);
}

Result<wire::NetMessage> NetClient::ask(const wire::NetMessage& request, std::span<const int> fds,
                                        const Limits& limits, std::string_view what) {
  const auto sent = sys::send_message(socket_.get(), wire::encode_net(request), fds);
  if (!sent) return base::fail(sent.error());
  for (;;) {
    auto reply = receive();
    if (!reply) return base::fail(reply.error());
    if (*reply) return std::move(**reply);
    if (auto ok = limits.wait(socket_.get(), POLLIN, what); !ok) return base::fail(ok.error());
  }
}

Result<wire::NetStatus> NetClient::status(const Limits& limits) {
  const auto reply = ask(wire::NetStatusRequest{}, {}, limits, "ask the network process");
  if (!reply) return base::fail(reply.error());
  if (const auto* status = std::get_if<wire::NetStatus>(&*reply)) return *status;
  return net_protocol_failure();
}

Result<void> NetClient::change_setup(int file, const Limits& limits) {
  return check_done(ask(wire::SetupChanged{}, {&file, 1}, limits, "set the network's policy"));
}

Result<void> NetClient::begin_flow_log() {
  return sys::send_message(socket_.get(), wire::encode_net(wire::FlowLogRequest{}));
}

Result<wire::FlowRecord> NetClient::next_flow() {
  for (;;) {
    auto received = receive();
    if (!received) return base::fail(received.error());
    if (!*received) return Limits::would_block("read the flows");
    wire::NetMessage& message = **received;
    if (auto* record = std::get_if<wire::FlowRecord>(&message)) return std::move(*record);
    // An answer that says no more than yes, and what a newer one tells besides.
    const bool is_passed_over = std::holds_alternative<wire::NetOk>(message) ||
                                std::holds_alternative<wire::UnknownNetMessage>(message);
    if (!is_passed_over) return net_protocol_failure();
  }
}

FlowRecord to_flow_record(const wire::FlowRecord& record) {
  constexpr uint64_t kNanoseconds = 1'000'000'000;
  FlowRecord flow;
  flow.time = rfc3339(static_cast<std::time_t>(record.realtime_ns / kNanoseconds));
  flow.kind = static_cast<FlowRecord::Kind>(record.what);
  flow.protocol = protocol_name(record.protocol);
  // A name that is asked for is no flow.
  if (flow.kind != FlowRecord::Kind::name) {
    flow.address = printed_address(record.remote.address);
    flow.port = record.remote.port;
  }
  flow.name = printable(record.name, wire::kMaxDomainBytes);
  flow.reason = printable(record.reason, kMaxReasonText);
  flow.bytes_from_guest = record.bytes_from_guest;
  flow.bytes_to_guest = record.bytes_to_guest;
  flow.lost = record.lost;
  return flow;
}

void add_status(NetworkCounters& counters, const wire::NetStatus& status) {
  counters.bytes_from_guest = status.bytes_from_guest;
  counters.bytes_to_guest = status.bytes_to_guest;
  counters.flows = status.flows;
  counters.flows_open = status.flows_open;
  counters.flows_refused_by_rule = status.flows_refused_by_rule;
  counters.flows_refused_by_limit = status.flows_refused_by_limit;
  counters.flows_failed = status.flows_failed;
  counters.dns_queries = status.dns_queries;
  counters.dns_failed = status.dns_failed;
}

}  // namespace microvm::host
