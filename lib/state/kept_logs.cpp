#include "state/kept_logs.hpp"

#include <unistd.h>

#include <algorithm>

#include "state/crc32c.hpp"
#include "state/format_version.hpp"
#include "sys/file.hpp"
#include "wire/fields.hpp"

namespace microvm::state {
namespace {

constexpr std::string_view kLogsMagic = "MVM-LOGS";
constexpr size_t kLogsHeadBytes = 8 + 4 + 4;
constexpr uint64_t kAreasOffset = 4096;

base::Failure logs_damaged() {
  return base::fail(ErrorCode::corrupt, "the kept logs are damaged");
}

// `M` is KeptLogs or its const form, `C` the direction (fields.hpp).
template <class C, class M>
void kept_logs_fields(C& c, M& m) {
  c.number(m.turn);
  for (auto& log : m.logs) {
    c.object(log, [](C& inner, auto& kept) {
      inner.number(kept.begin);
      inner.number(kept.end);
      inner.number(kept.at);
      inner.number(kept.text_written_ns);
    });
  }
}

bool is_in_bounds(const KeptLog& log) {
  return log.begin <= log.end && log.end - log.begin <= wire::kMaxLogBytes && log.at < kKeptLogArea;
}

}  // namespace

wire::Bytes encode_kept_logs(const KeptLogs& logs) {
  wire::FieldWriter body(wire::Form::growing);
  kept_logs_fields(body, logs);
  const wire::Bytes bytes = body.take();
  wire::ByteWriter out;
  out.put_bytes(wire::as_bytes(kLogsMagic));
  out.put(kKeptLogsVersion);
  out.put(static_cast<uint32_t>(bytes.size()));
  out.put_bytes(bytes);
  out.put(crc32c(out.bytes()));
  return out.take();
}

Result<KeptLogs> decode_kept_logs(wire::ByteView bytes) {
  wire::ByteReader in(bytes);
  if (wire::as_text(in.get_bytes(kLogsMagic.size())) != kLogsMagic) return logs_damaged();
  const auto version = in.get<uint32_t>();
  const wire::ByteView body = in.get_bytes(in.get<uint32_t>());
  const auto checksum = in.get<uint32_t>();
  if (!in.ok()) return logs_damaged();
  if (checksum != crc32c(bytes.first(kLogsHeadBytes + body.size()))) return logs_damaged();
  if (auto ok = check_version("kept logs", version, kKeptLogsVersion); !ok) {
    return base::fail(ok.error());
  }
  KeptLogs logs;
  wire::FieldReader reader(wire::Form::growing, body);
  kept_logs_fields(reader, logs);
  if (!reader.is_valid() || !std::ranges::all_of(logs.logs, is_in_bounds)) return logs_damaged();
  return logs;
}

uint64_t kept_logs_header_offset(uint64_t turn) {
  return turn % 2 * kKeptLogsHeaderBytes;
}

std::vector<FilePiece> kept_log_pieces(KeptLogIndex index, uint32_t at, size_t bytes) {
  const uint64_t area = kAreasOffset + static_cast<uint64_t>(index) * kKeptLogArea;
  const size_t first = std::min<size_t>(bytes, kKeptLogArea - at);
  std::vector<FilePiece> pieces;
  if (first > 0) pieces.push_back({area + at, first});
  if (bytes > first) pieces.push_back({area, bytes - first});
  return pieces;
}

Result<std::optional<KeptLogs>> read_kept_logs(int fd) {
  wire::Bytes headers(2 * kKeptLogsHeaderBytes);
  const ssize_t got = ::pread(fd, headers.data(), headers.size(), 0);
  if (got < 0) return base::fail_errno("read the kept logs");
  if (got == 0) return std::nullopt;
  std::optional<KeptLogs> newest;
  Error error{ErrorCode::corrupt, {}};
  for (const uint64_t turn : {0, 1}) {
    const auto header = wire::ByteView(headers).subspan(kept_logs_header_offset(turn));
    const auto logs = decode_kept_logs(header.first(kKeptLogsHeaderBytes));
    if (logs && (!newest || logs->turn > newest->turn)) newest = *logs;
    if (!logs && error.code != ErrorCode::unsupported) error = logs.error();
  }
  // That of a newer version may be the one that counts.
  if (!newest || error.code == ErrorCode::unsupported) return base::fail(error);
  return newest;
}

Result<wire::Bytes> read_kept_log(int fd, const KeptLogs& logs, KeptLogIndex index) {
  const KeptLog& log = logs.logs[static_cast<size_t>(index)];
  wire::Bytes bytes(log.end - log.begin);
  size_t done = 0;
  for (const FilePiece& piece : kept_log_pieces(index, log.at, bytes.size())) {
    const auto out = std::span(bytes).subspan(done, piece.bytes);
    if (auto ok = sys::pread_full(fd, out, piece.offset); !ok) return base::fail(ok.error());
    done += piece.bytes;
  }
  return bytes;
}

}  // namespace microvm::state
