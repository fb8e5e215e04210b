#include "wire/control.hpp"

namespace microvm::wire {
namespace {

// Wire numbers of the message types. Never renumber: a library may attach to an older worker.
template <class T>
constexpr uint16_t kType = 0;
template <>
constexpr uint16_t kType<ShapeRequest> = 1;
template <>
constexpr uint16_t kType<ProbeRequest> = 2;
template <>
constexpr uint16_t kType<BootRequest> = 3;
template <>
constexpr uint16_t kType<RestoreRequest> = 4;
template <>
constexpr uint16_t kType<ConnectRequest> = 5;
template <>
constexpr uint16_t kType<SnapshotRequest> = 6;
template <>
constexpr uint16_t kType<PauseRequest> = 7;
template <>
constexpr uint16_t kType<ResumeRequest> = 8;
template <>
constexpr uint16_t kType<LogsRequest> = 9;
template <>
constexpr uint16_t kType<InfoRequest> = 10;
template <>
constexpr uint16_t kType<TerminateRequest> = 11;
template <>
constexpr uint16_t kType<CaptureRequest> = 12;
template <>
constexpr uint16_t kType<MergeRequest> = 13;
template <>
constexpr uint16_t kType<WorkingSetRequest> = 14;
template <>
constexpr uint16_t kType<OkReply> = 64;
template <>
constexpr uint16_t kType<ErrorReply> = 65;
template <>
constexpr uint16_t kType<SnapshotReply> = 66;
template <>
constexpr uint16_t kType<InfoReply> = 67;
template <>
constexpr uint16_t kType<CaptureReply> = 68;
template <>
constexpr uint16_t kType<AgentEvent> = 128;
template <>
constexpr uint16_t kType<ExitEvent> = 129;
template <>
constexpr uint16_t kType<DiskErrorEvent> = 130;

constexpr size_t kMaxCmdline = 2048;
constexpr size_t kMaxText = 4096;
constexpr size_t kMaxId = 64;

// One visitor names the fields of every message; Encoder and Decoder give them their direction, so
// the two can not disagree.
struct Encoder {
  ByteWriter out;
  template <std::integral T>
  void number(const T& value) {
    out.put(value);
  }
  void flag(const bool& value) { out.put(static_cast<uint8_t>(value)); }
  void text(const std::string& value, size_t) { out.put_string(value); }
  template <class E>
  void choice(const E& value, E) {
    out.put(static_cast<uint8_t>(value));
  }
  template <class T, class F>
  void list(const std::vector<T>& items, size_t, F&& field) {
    out.put(static_cast<uint16_t>(items.size()));
    for (const T& item : items) field(*this, item);
  }
};

struct Decoder {
  ByteReader in;
  template <std::integral T>
  void number(T& value) {
    value = in.get<T>();
  }
  void flag(bool& value) {
    const auto byte = in.get<uint8_t>();
    if (byte > 1) in.fail();
    value = byte == 1;
  }
  void text(std::string& value, size_t max) { value = in.get_string(max); }
  template <class E>
  void choice(E& value, E last) {
    const auto byte = in.get<uint8_t>();
    if (byte > static_cast<uint8_t>(last)) in.fail();
    value = static_cast<E>(byte);
  }
  template <class T, class F>
  void list(std::vector<T>& items, size_t max, F&& field) {
    const auto count = in.get<uint16_t>();
    if (count > max) return in.fail();
    items.resize(count);
    for (T& item : items) field(*this, item);
  }
};

// `M` is the message or its const form, `C` the direction.
template <class C, class M>
void attachment(C& c, M& m) {
  c.text(m.vm_id, kMaxId);
  c.flag(m.dies_with_owner);
}

template <class C, class M>
void disks(C& c, M& m) {
  c.list(m, kMaxDisks, [](C& inner, auto& disk) {
    inner.flag(disk.read_only);
    inner.flag(disk.hold_when_full);
    inner.number(disk.layers);
  });
}

template <class T, class M>
concept Is = std::same_as<std::remove_const_t<M>, T>;

template <class C, class M>
void fields(C& c, M& m) {
  if constexpr (Is<ShapeRequest, M>) {
    c.number(m.shape.memory_bytes);
    c.number(m.shape.vcpus);
    c.number(m.shape.disks);
    c.number(m.shape.peak_memory_bytes);
    c.number(m.shape.peak_vcpus);
    c.number(m.shape.nets);
  } else if constexpr (Is<BootRequest, M>) {
    c.text(m.cmdline, kMaxCmdline);
    attachment(c, m.attachment);
    disks(c, m.disks);
  } else if constexpr (Is<RestoreRequest, M>) {
    attachment(c, m.attachment);
    disks(c, m.disks);
    c.number(m.overlays);
    c.flag(m.working_set);
  } else if constexpr (Is<ConnectRequest, M>) {
    c.number(m.port);
  } else if constexpr (Is<CaptureRequest, M>) {
    c.flag(m.all_pages);
    c.flag(m.run_on);
  } else if constexpr (Is<ResumeRequest, M>) {
    c.flag(m.drop_layers);
  } else if constexpr (Is<TerminateRequest, M>) {
    c.flag(m.suspended);
  } else if constexpr (Is<LogsRequest, M>) {
    c.choice(m.which, LogsRequest::Which::app);
    c.flag(m.follow);
  } else if constexpr (Is<ErrorReply, M> || Is<DiskErrorEvent, M>) {
    c.number(m.code);
    c.text(m.message, kMaxText);
  } else if constexpr (Is<SnapshotReply, M>) {
    c.number(m.memory_bytes);
    c.number(m.memory_data_bytes);
    c.number(m.pause_us);
  } else if constexpr (Is<CaptureReply, M>) {
    c.number(m.page_bytes);
    c.number(m.pause_us);
  } else if constexpr (Is<InfoReply, M>) {
    c.number(m.worker_pid);
    c.flag(m.paused);
    c.number(m.memory_bytes);
    c.number(m.vcpus);
    c.number(m.exits);
    c.number(m.start_to_run_ns);
    c.number(m.devices_needing_reset);
  } else if constexpr (Is<ExitEvent, M>) {
    c.choice(m.reason, ExitEvent::Reason::suspended);
    c.text(m.detail, kMaxText);
  }
}

template <class T>
bool decode_as(uint16_t type, Decoder& decoder, Message& out) {
  if (type != kType<T>) return false;
  T message;
  fields(decoder, message);
  out = std::move(message);
  return true;
}

template <class... T>
bool decode_any(uint16_t type, Decoder& decoder, std::variant<T...>& out) {
  return (decode_as<T>(type, decoder, out) || ...);
}

}  // namespace

Bytes encode(const Envelope& envelope) {
  Encoder encoder;
  std::visit(
      [&]<class T>(const T& message) {
        static_assert(kType<T> != 0);
        encoder.out.put(kControlVersion);
        encoder.out.put(kType<T>);
        encoder.out.put(envelope.request_id);
        fields(encoder, message);
      },
      envelope.message);
  return encoder.out.take();
}

std::optional<Envelope> decode(ByteView bytes) {
  Decoder decoder{ByteReader(bytes)};
  const auto version = decoder.in.get<uint16_t>();
  const auto type = decoder.in.get<uint16_t>();
  Envelope envelope;
  envelope.request_id = decoder.in.get<uint32_t>();
  if (!decoder.in.ok() || version != kControlVersion) return std::nullopt;
  if (!decode_any(type, decoder, envelope.message) || !decoder.in.done()) return std::nullopt;
  return envelope;
}

}  // namespace microvm::wire
