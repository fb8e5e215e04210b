#include "wire/net.hpp"

#include "wire/fields.hpp"

namespace microvm::wire {
namespace {

constexpr size_t kMaxNetText = 1024;

// Never renumber: a library may meet a microvm-net of another one.
template <class T>
constexpr uint16_t kNetType = 0;
template <>
constexpr uint16_t kNetType<NetUp> = 1;
template <>
constexpr uint16_t kNetType<NetFailed> = 2;
template <>
constexpr uint16_t kNetType<UdpPair> = 3;
template <>
constexpr uint16_t kNetType<FirstPacket> = 4;
template <>
constexpr uint16_t kNetType<SetupChanged> = 16;
template <>
constexpr uint16_t kNetType<NetStatusRequest> = 17;
template <>
constexpr uint16_t kNetType<FlowLogRequest> = 18;
template <>
constexpr uint16_t kNetType<NetOk> = 32;
template <>
constexpr uint16_t kNetType<NetError> = 33;
template <>
constexpr uint16_t kNetType<NetStatus> = 34;
template <>
constexpr uint16_t kNetType<FlowRecord> = 35;

// One visitor for each message, for both directions.
template <class V, class M>
  requires std::same_as<std::remove_const_t<M>, NetUp>
void net_fields(V& v, M& m) {
  v.number(m.offloads);
}

template <class V, class M>
  requires std::same_as<std::remove_const_t<M>, NetFailed> ||
           std::same_as<std::remove_const_t<M>, NetError>
void net_fields(V& v, M& m) {
  v.number(m.code);
  v.text(m.message, kMaxNetText);
}

template <class V, class M>
  requires std::same_as<std::remove_const_t<M>, NetEndpoint>
void net_fields(V& v, M& m) {
  for (auto& byte : m.address) v.number(byte);
  v.number(m.port);
}

template <class V, class M>
void endpoint(V& v, M& m) {
  v.object(m, [](auto& inner, auto& e) { net_fields(inner, e); });
}

template <class V, class M>
  requires std::same_as<std::remove_const_t<M>, UdpPair>
void net_fields(V& v, M& m) {
  v.flag(m.admitted);
  endpoint(v, m.guest);
  endpoint(v, m.remote);
}

template <class V, class M>
  requires std::same_as<std::remove_const_t<M>, NetStatus>
void net_fields(V& v, M& m) {
  v.number(m.bytes_from_guest);
  v.number(m.bytes_to_guest);
  v.number(m.flows);
  v.number(m.flows_open);
  v.number(m.flows_refused_by_rule);
  v.number(m.flows_refused_by_limit);
  v.number(m.flows_failed);
  v.number(m.dns_queries);
  v.number(m.dns_failed);
}

template <class V, class M>
  requires std::same_as<std::remove_const_t<M>, FlowRecord>
void net_fields(V& v, M& m) {
  v.number(m.realtime_ns);
  v.choice(m.what, FlowRecord::What::name);
  v.choice(m.protocol, FlowProtocol::icmp);
  endpoint(v, m.remote);
  v.text(m.name, kMaxNetText);
  v.text(m.reason, kMaxNetText);
  v.number(m.bytes_from_guest);
  v.number(m.bytes_to_guest);
  v.number(m.lost);
}

template <class V, class M>
  requires std::is_empty_v<std::remove_const_t<M>>
void net_fields(V&, M&) {}

template <class T>
Bytes body_of_net(const T& message) {
  FieldWriter body(Form::growing);
  body.object(message, [](FieldWriter& v, const T& m) { net_fields(v, m); });
  return body.take();
}

Bytes body_of_net(const FirstPacket& packet) {
  return packet.frame;
}

Bytes body_of_net(const UnknownNetMessage&) {
  return {};
}

template <class T>
bool read_net(ByteView body, T& message) {
  FieldReader reader(Form::growing, body);
  reader.object(message, [](FieldReader& v, T& m) { net_fields(v, m); });
  return reader.is_valid();
}

bool read_net(ByteView body, FirstPacket& packet) {
  packet.frame.assign(body.begin(), body.end());
  return body.size() <= kMaxFrameBytes;
}

// True: the type is T's. `sound` tells whether the body was.
template <class T>
bool decode_net_as(uint16_t type, ByteView body, NetMessage& out, bool& sound) {
  if constexpr (std::same_as<T, UnknownNetMessage>) {
    return false;
  } else {
    if (type != kNetType<T>) return false;
    T message;
    sound = read_net(body, message);
    out = std::move(message);
    return true;
  }
}

template <class... T>
bool decode_any_net(uint16_t type, ByteView body, std::variant<T...>& out) {
  bool sound = true;
  static_cast<void>((decode_net_as<T>(type, body, out, sound) || ...));
  return sound;
}

template <class T>
uint16_t type_of_net(const T&) {
  return kNetType<T>;
}

}  // namespace

Bytes encode_net(const NetMessage& message) {
  return std::visit(
      [](const auto& m) {
        ByteWriter out;
        out.put(kNetWireVersion);
        out.put(type_of_net(m));
        out.put_bytes(body_of_net(m));
        return out.take();
      },
      message);
}

Result<NetMessage> decode_net(ByteView bytes) {
  ByteReader in(bytes);
  const auto version = in.get<uint16_t>();
  const auto type = in.get<uint16_t>();
  if (!in.ok()) return base::fail(ErrorCode::protocol, "fewer bytes than a message of the net has");
  if (version != kNetWireVersion) {
    return base::fail(ErrorCode::unsupported,
                      "version " + std::to_string(version) + " of the net wire");
  }
  NetMessage message = UnknownNetMessage{type};
  if (!decode_any_net(type, in.get_bytes(in.left()), message)) {
    return base::fail(ErrorCode::protocol,
                      "a damaged message of the net, type " + std::to_string(type));
  }
  return message;
}

}  // namespace microvm::wire
