// The logs of one microVM as its worker keeps them on disk while it runs (the file "logs"), so that
// they are there however the worker ends, and go on in its next life:
//   at 0 and 1024  a header each: magic "MVM-LOGS", u32 version, u32 length of the body, body, u32
//                  crc32c of all that; the body an object in the growing form (wire/fields.hpp)
//   from 4096      an area of 512 KiB for each log, of which at most 256 KiB are in use
// all little-endian. The header with the higher turn counts. What it names is not overwritten
// before the other one is: the file is whole at any moment that a worker is killed in. What the
// areas hold is a guest's text, and has no sum.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "wire/bytes.hpp"
#include "wire/log_size.hpp"

namespace microvm::state {

inline constexpr uint32_t kKeptLogsVersion = 1;
inline constexpr size_t kKeptLogsHeaderBytes = 1024;  // at most
inline constexpr uint32_t kKeptLogArea = 2 * wire::kMaxLogBytes;

struct KeptLog {
  // Positions in the stream of all bytes that the log ever had, in whatever life.
  uint64_t begin = 0;
  uint64_t end = 0;
  uint32_t at = 0;  // of `begin`, in the area, at whose end it goes on at its beginning
  // When its text file (kernel.log, app.log) was written by a worker that knows of this file, ns;
  // one of another time was written by an older worker since, and is newer. 0: never.
  uint64_t text_written_ns = 0;

  bool operator==(const KeptLog&) const = default;
};

inline constexpr size_t kKeptLogCount = 2;
enum class KeptLogIndex : uint8_t { kernel, app };

struct KeptLogs {
  uint64_t turn = 0;
  std::array<KeptLog, kKeptLogCount> logs{};

  bool operator==(const KeptLogs&) const = default;
};

// One header. What comes back is within its bounds. Errors: corrupt, unsupported (newer version).
[[nodiscard]] wire::Bytes encode_kept_logs(const KeptLogs& logs);
[[nodiscard]] Result<KeptLogs> decode_kept_logs(wire::ByteView bytes);

// Where the header of a turn stands.
[[nodiscard]] uint64_t kept_logs_header_offset(uint64_t turn);

// Where `bytes` bytes of a log stand, from `at` in its area on: one piece or two.
struct FilePiece {
  uint64_t offset = 0;
  size_t bytes = 0;
};
[[nodiscard]] std::vector<FilePiece> kept_log_pieces(KeptLogIndex index, uint32_t at, size_t bytes);

// Empty: nothing was kept yet. Errors: corrupt, unsupported, io.
[[nodiscard]] Result<std::optional<KeptLogs>> read_kept_logs(int fd);
// What is kept of one log. Error corrupt: the file ends before it.
[[nodiscard]] Result<wire::Bytes> read_kept_log(int fd, const KeptLogs& logs, KeptLogIndex index);

}  // namespace microvm::state
