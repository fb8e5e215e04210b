// The agent wire: frames over one vsock stream per operation. A frame is u32 length of the body,
// u8 type, body. Bodies named after a message of agent.proto are nanopb; data frames are raw bytes.
// Both sides treat what they read as hostile: lengths are bounded before anything is allocated.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

namespace microvm::wire {

inline constexpr uint32_t kMaxFrameBody = 256 * 1024;
inline constexpr uint32_t kDataChunk = 32 * 1024;  // what a sender puts into one data frame
// 2: freeze and thaw are answered on the doorbell too.
inline constexpr uint32_t kAgentVersion = 2;
inline constexpr uint32_t kFreezesOnDoorbell = 2;

// Never renumber: agents of this version live on in snapshots.
enum class FrameType : uint8_t {
  // doorbell connection; later also freeze and thaw, each answered by ok or failed, and the end of
  // the connection ends the freeze
  hello = 1,     // agent → host: Hello
  identity = 2,  // host → agent: Identity
  ready = 3,     // agent → host: Ready; user processes run from here on

  // first frame of an operation connection, host → agent
  exec =
      16,  // ExecRequest, arguments, environment → started, then stdout/stderr frames, then exited
  start = 17,  // like exec: the image's command, output to the log; → ok, and exited when it has
               // ended, to a host that waits for that; or failed
  tcp_connect = 18,  // TcpConnectRequest → ok, then raw bytes without frames; or failed
  put_files = 19,    // then file_entry (+ data frames) …, put_end → ok or failed
  freeze = 20,       // FreezeRequest: stop user processes → ok when they are frozen
  wait_port = 21,    // WaitPortRequest → ok when something listens there, or failed
  power_off = 22,    // sync, unmount, power off → ok before it happens
  activity = 23,     // → activity_report
  pty_open = 24,    // PtyOpenRequest, arguments (none: the user's shell), environment → pty_opened,
                    // then output; or exited when it could not be started. Closing the stream
                    // only detaches: the program stays
  pty_attach = 25,  // PtyAttachRequest → pty_opened, recent output, then what comes
  pty_list = 26,    // → pty_info …, ok
  pty_close = 27,   // PtyCloseRequest: hang up → ok when the program has ended
  file = 28,        // FileRequest → as its action says, or failed
  get_files = 29,   // GetFilesRequest → file_entry (+ data frames) …, ok or failed
  watch = 30,       // WatchRequest → ok, watch_event …, ok when the path is gone; or failed
  thaw = 31,        // Identity (clock, seed): user processes go on → ok

  // during an operation
  ok = 32,           // agent → host: empty
  failed = 33,       // agent → host: Failure
  started = 34,      // agent → host: Started
  stdin_data = 35,   // host → agent: raw
  stdin_end = 36,    // host → agent: empty
  stdout_data = 37,  // agent → host: raw
  stderr_data = 38,  // agent → host: raw
  exited = 39,       // agent → host: Exited; the last frame of an exec
  signal = 40,       // host → agent: SignalRequest
  file_entry = 41,   // either way: FileEntry
  file_data = 42,    // either way: raw, belongs to the last file_entry
  put_end = 43,      // host → agent: empty
  arguments = 44,    // host → agent: NUL-terminated strings, "argv[0]\0argv[1]\0…"
  environment = 45,  // host → agent: NUL-terminated strings, the complete environment

  watch_event = 46,  // agent → host: WatchEvent

  // during pty_open and pty_attach, besides stdin_data, stdout_data, signal (to the foreground
  // process group) and exited
  pty_opened = 64,   // agent → host: PtyOpened
  pty_resize = 65,   // host → agent: PtySize; only a writer's counts
  pty_role = 66,     // agent → host: PtyRole: it changed
  pty_lost = 67,     // agent → host: PtyLost: this client was too slow, the next data is later
  pty_collect = 68,  // host → agent: empty; `exited` has arrived and may be forgotten
  pty_info = 69,     // agent → host: PtyInfo

  activity_report = 70,  // agent → host: Activity; the answer to activity

  // first frame of an operation connection again
  exec_open = 71,    // as exec, for what an agent that does not know this would not do
  exec_attach = 72,  // ExecAttachRequest → started, kept output, then what comes, as with exec
  exec_list = 73,    // → exec_info …, ok
  exec_signal = 74,  // ExecSignalRequest → ok
  exec_wait = 75,    // ExecWaitRequest → exec_info, and exited when it has

  exec_info = 76,  // agent → host: ExecInfo
  // during exec, exec_open and exec_attach, besides pty_role, pty_lost and pty_collect
  exec_detach = 77,  // host → agent: empty; this client leaves, the program goes on without it
  exec_drop = 78,    // host → agent: empty; nobody wants the program any more: it is killed

  // first frame of an operation connection, of builds
  end_programs = 80,  // kill what programs have left running, but not the command → ok

  // Changes of files that are done once, however often they are begun; both are the first frame of
  // an operation, and an agent that does not know them answers failed.
  put_tree = 90,    // PutTreeRequest → go_on, then as put_files; or at once what became of that id
  file_again = 91,  // FileRequest whose operation_id was sent before → go_on, then as file; or at
                    // once what became of it
  go_on = 92,       // agent → host: empty
  file_hole = 93,   // host → agent: FileHole, between file_data
  file_extents =
      94,  // agent → host: raw, u64 offset and u64 size of each place with data, ascending
};

struct FrameHeader {
  static constexpr size_t kSize = 5;
  uint32_t body_size = 0;
  FrameType type{};

  [[nodiscard]] std::array<std::byte, kSize> encode() const {
    std::array<std::byte, kSize> out{};
    std::memcpy(out.data(), &body_size, sizeof body_size);
    out[4] = static_cast<std::byte>(type);
    return out;
  }
  // The caller checks body_size against kMaxFrameBody.
  static FrameHeader decode(const std::array<std::byte, kSize>& in) {
    FrameHeader header;
    std::memcpy(&header.body_size, in.data(), sizeof header.body_size);
    header.type = static_cast<FrameType>(in[4]);
    return header;
  }
};

}  // namespace microvm::wire
