#include "wire/control.hpp"

#include <string>

#include "wire/exit_fields.hpp"
#include "wire/fields.hpp"

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
constexpr uint16_t kType<WriteCaptureRequest> = 15;
template <>
constexpr uint16_t kType<SmpProbeRequest> = 40;
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
constexpr uint16_t kType<VersionsReply> = 69;
template <>
constexpr uint16_t kType<LogsReply> = 70;
template <>
constexpr uint16_t kType<SmpProbeReply> = 104;
template <>
constexpr uint16_t kType<AgentEvent> = 128;
template <>
constexpr uint16_t kType<ExitEvent> = 129;
template <>
constexpr uint16_t kType<DiskErrorEvent> = 130;
template <>
constexpr uint16_t kType<NetworkEvent> = 131;

constexpr size_t kHeaderBytes = 8;
constexpr size_t kMaxCmdline = 2048;
constexpr size_t kMaxId = 64;

// `M` is the message or its const form, `C` the direction.
template <class C, class M>
void attachment(C& c, M& m) {
  c.object(m, [](C& inner, auto& attachment) {
    inner.text(attachment.vm_id, kMaxId);
    inner.flag(attachment.dies_with_owner);
  });
}

template <class C, class M>
void disks(C& c, M& m) {
  c.list(m, kMaxDisks, [](C& inner, auto& disk) {
    inner.flag(disk.read_only);
    inner.flag(disk.hold_when_full);
    inner.number(disk.layers);
  });
}

// What boots and restores got after version 1.
template <class C, class M>
void added_to_starts(C& c, M& m) {
  if (!c.grows()) return;
  c.flag(m.kept_logs);
  c.choice(m.network, NetworkKind::tap);
}

template <class C, class M>
void start_steps(C& c, M& m) {
  c.object(m, [](C& inner, auto& steps) {
    for (auto* step :
         {&steps.received_at_ns, &steps.devices, &steps.state, &steps.memory, &steps.applied,
          &steps.pages, &steps.answered, &steps.entered, &steps.rang}) {
      inner.number(*step);
    }
  });
}

template <class C, class M>
void net_counters(C& c, M& m) {
  c.object(m, [](C& inner, auto& net) {
    for (auto* counter : {&net.frames_from_guest, &net.bytes_from_guest, &net.frames_to_guest,
                          &net.bytes_to_guest, &net.malformed, &net.spoofed, &net.no_network,
                          &net.overrun, &net.unwanted, &net.starts}) {
      inner.number(*counter);
    }
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
    if (c.grows()) {
      c.number(m.shape.peak_memory_bytes);
      c.number(m.shape.peak_vcpus);
      c.number(m.shape.nets);
      c.choice(m.shape.transport, TransportKind::pci);
    }
  } else if constexpr (Is<BootRequest, M>) {
    c.text(m.cmdline, kMaxCmdline);
    attachment(c, m.attachment);
    disks(c, m.disks);
    added_to_starts(c, m);
  } else if constexpr (Is<RestoreRequest, M>) {
    attachment(c, m.attachment);
    disks(c, m.disks);
    c.number(m.overlays);
    c.flag(m.working_set);
    added_to_starts(c, m);
  } else if constexpr (Is<ConnectRequest, M>) {
    c.number(m.port);
  } else if constexpr (Is<CaptureRequest, M>) {
    c.flag(m.all_pages);
    c.flag(m.run_on);
    if (c.grows()) {
      c.flag(m.list_pages);
      c.flag(m.write_later);
    }
  } else if constexpr (Is<ResumeRequest, M>) {
    c.flag(m.drop_layers);
  } else if constexpr (Is<TerminateRequest, M>) {
    c.flag(m.suspended);
  } else if constexpr (Is<LogsRequest, M>) {
    c.choice(m.which, LogsRequest::Which::app);
    c.flag(m.follow);
    if (c.grows()) {
      c.flag(m.positions);
      c.number(m.from);
    }
  } else if constexpr (Is<ErrorReply, M> || Is<DiskErrorEvent, M>) {
    c.number(m.code);
    c.text(m.message, kMaxText);
  } else if constexpr (Is<NetworkEvent, M>) {
    c.choice(m.what, NetworkEvent::What::ended);
    c.number(m.code);
    c.text(m.message, kMaxText);
  } else if constexpr (Is<LogsReply, M>) {
    c.number(m.begin);
    c.number(m.life_begin);
    c.number(m.life);
  } else if constexpr (Is<SnapshotReply, M>) {
    c.number(m.memory_bytes);
    c.number(m.memory_data_bytes);
    c.number(m.pause_us);
  } else if constexpr (Is<CaptureReply, M>) {
    c.number(m.page_bytes);
    c.number(m.pause_us);
    if (c.grows()) {
      c.number(m.listed_memory_bytes);
      c.flag(m.unwritten);
    }
  } else if constexpr (Is<InfoReply, M>) {
    c.number(m.worker_pid);
    c.flag(m.paused);
    c.number(m.memory_bytes);
    c.number(m.vcpus);
    c.number(m.exits);
    c.number(m.start_to_run_ns);
    c.number(m.devices_needing_reset);
    if (c.grows()) {
      start_steps(c, m.steps);
      net_counters(c, m.net);
    }
  } else if constexpr (Is<ExitEvent, M>) {
    exit_fields(c, m);
  } else if constexpr (Is<SmpProbeRequest, M>) {
    c.number(m.vcpus);
    c.number(m.run_ms);
  } else if constexpr (Is<SmpProbeReply, M>) {
    c.number(m.rounds);
    c.number(m.tsc_backwards);
    c.number(m.most_backwards_ticks);
    c.number(m.tsc_khz);
  } else if constexpr (Is<VersionsReply, M>) {
    c.number(m.oldest);
    c.number(m.newest);
  }
}

Form form_of(uint16_t version) {
  return version == 1 ? Form::fixed : Form::growing;
}

// What follows the header. In the growing form it is one object; none is no object.
Result<ByteView> body_of(uint16_t version, ByteView bytes) {
  if (version == 1) return bytes;
  ByteReader in(bytes);
  const ByteView body = in.get_bytes(in.get<uint32_t>());
  if (!in.done()) return base::fail(ErrorCode::protocol, "a message of the wrong length");
  return body;
}

// The type's number; 0 when the version has no such message.
template <class T>
constexpr uint16_t type_in(uint16_t version) {
  constexpr bool is_newer = std::same_as<T, VersionsReply> || std::same_as<T, LogsReply> ||
                            std::same_as<T, WriteCaptureRequest> || std::same_as<T, NetworkEvent>;
  return version == 1 && is_newer ? 0 : kType<T>;
}

template <class T>
bool decode_as(const Header& header, FieldReader& reader, Message& out) {
  if (header.type == 0 || header.type != type_in<T>(header.version)) return false;
  T message;
  fields(reader, message);
  out = std::move(message);
  return true;
}

template <class... T>
bool decode_any(const Header& header, FieldReader& reader, std::variant<T...>& out) {
  return (decode_as<T>(header, reader, out) || ...);
}

template <class T>
Result<Bytes> encode_as(const Envelope& envelope, const T& message) {
  const uint16_t type = type_in<T>(envelope.version);
  if (type == 0) {
    return base::fail(ErrorCode::unsupported, "version " + std::to_string(envelope.version) +
                                                  " of the control wire has no such message");
  }
  ByteWriter out;
  out.put(envelope.version);
  out.put(type);
  out.put(envelope.request_id);
  FieldWriter body(form_of(envelope.version));
  body.object(message, [](FieldWriter& writer, const T& said) { fields(writer, said); });
  out.put_bytes(body.take());
  return out.take();
}

}  // namespace

Result<Bytes> encode(const Envelope& envelope) {
  return std::visit([&](const auto& message) { return encode_as(envelope, message); },
                    envelope.message);
}

std::optional<Header> read_header(ByteView bytes) {
  ByteReader in(bytes);
  const Header header{in.get<uint16_t>(), in.get<uint16_t>(), in.get<uint32_t>()};
  return in.ok() ? std::optional(header) : std::nullopt;
}

Result<Envelope> decode(ByteView bytes) {
  const auto header = read_header(bytes);
  if (!header) return base::fail(ErrorCode::protocol, "fewer bytes than a message has");
  if (header->version < kOldestControlVersion || header->version > kControlVersion) {
    return base::fail(ErrorCode::unsupported, "version " + std::to_string(header->version) +
                                                  " of the control wire, of which versions " +
                                                  std::to_string(kOldestControlVersion) + " to " +
                                                  std::to_string(kControlVersion) +
                                                  " are known here");
  }
  const auto body = body_of(header->version, bytes.subspan(kHeaderBytes));
  if (!body) return base::fail(body.error());
  Envelope envelope{header->request_id, UnknownMessage{header->type}, header->version};
  FieldReader reader(form_of(header->version), *body);
  if (decode_any(*header, reader, envelope.message) && !reader.is_valid()) {
    return base::fail(ErrorCode::protocol,
                      "a damaged message of type " + std::to_string(header->type));
  }
  return envelope;
}

Envelope greeting() {
  return {kGreetingId, InfoRequest{}, kOldestControlVersion};
}

bool is_greeting(const Envelope& envelope) {
  return envelope.version == kOldestControlVersion && envelope.request_id == kGreetingId &&
         std::holds_alternative<InfoRequest>(envelope.message);
}

}  // namespace microvm::wire
