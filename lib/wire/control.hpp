// The control wire: embedder ↔ worker, one SOCK_SEQPACKET datagram per message, fds as SCM_RIGHTS.
// Every message is a header (u16 protocol version, u16 type, u32 request id; so in every version)
// and a body in little-endian. A request gets exactly one reply with its id; events carry id 0. One
// that changes the machine waits for another that is doing so. The owner talks over the socket pair
// the worker was started with; others connect to the Vm's listening socket.
//
// Versions. A worker outlives the library that started it, so each meets others of another version.
//   1  the body is exactly the fields that there were then, and nothing may be missing or follow
//   2  the body is an object in the growing form (fields.hpp), and so is everything inside it
// A worker answers in the version that it was last addressed in, and first speaks version 1. Who
// did not start it asks with greeting() what it speaks, and then uses the newest version that both
// know. A message of an unknown type or version is answered with ErrorReply (unsupported).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.hpp"
#include "wire/bytes.hpp"
#include "wire/shape.hpp"

namespace microvm::wire {

inline constexpr uint16_t kOldestControlVersion = 1;
inline constexpr uint16_t kControlVersion = 2;
inline constexpr size_t kMaxControlMessage = 64 * 1024;
inline constexpr size_t kMaxControlFds = 64;
inline constexpr uint32_t kMaxLayers = 32;
inline constexpr uint32_t kMaxOverlays = 4;
inline constexpr int kWorkerControlFd = 3;  // the worker's end of the owner's socket pair

// vsock ports. The host is CID 2.
inline constexpr uint32_t kAgentDoorbellPort =
    1024;  // guest → host: after boot and after a restore
inline constexpr uint32_t kAgentOperationPort = 1025;  // host → guest: one connection per operation
inline constexpr uint32_t kAppLogPort = 1026;  // guest → host: output of the image's command
// guest → host: is told the host's CLOCK_REALTIME (int64_t ns; more may follow), and closed when it
// is worth asking again.
inline constexpr uint32_t kClockPort = 1027;

// ---- requests, in the order a worker sees them -------------------------------------------------

// Creates the VM, its memory slots, interrupt chips, vCPUs and device eventfds, so that a pooled
// worker has nothing left to create. fds: [/dev/kvm], and with nets also [the program microvm-net,
// a SOCK_SEQPACKET on which its home will come: net_starter.hpp].
struct ShapeRequest {
  Shape shape;
};

// Runs tiny guests to see whether this /dev/kvm executes what a stock kernel needs, then exits.
// Reply: OkReply or ErrorReply (kvm_unsuitable, kvm_unavailable). fds: [/dev/kvm].
struct ProbeRequest {};

// Runs a tiny guest with this many vCPUs for so long, to see whether they have one memory and one
// time, then exits. Reply: SmpProbeReply or ErrorReply (kvm_unsuitable, …). fds: [/dev/kvm].
struct SmpProbeRequest {
  uint16_t vcpus = 0;
  uint32_t run_ms = 0;
};

// What the first layer of a disk is: a raw read-only file; every further one is a copy-on-write
// layer (lib/vmm/disk), the last of them writable unless the disk is read-only.
struct DiskSpec {
  bool read_only = false;
  bool hold_when_full = false;  // what the host has no room for waits for it, and does not fail
  uint16_t layers = 0;          // number of fds, base first
};

// What the guest's network device is connected to.
enum class NetworkKind : uint8_t {
  none = 0,  // nothing: the link is down
  user = 1,  // microvm-net, which is started at the guest's first frame
  tap = 2,   // the tap that comes with the request
};

// How a Vm outlives or follows its owner, and what it leaves on disk.
struct Attachment {
  std::string vm_id;
  bool dies_with_owner = true;
};

// Cold boot of a shaped machine. fds: BootFds (start_fds.hpp). The worker keeps the exit record and
// the leases open to its end and does nothing else with the leases: the file locks on them say that
// the Vm lives.
struct BootRequest {
  std::string cmdline;
  Attachment attachment;
  std::vector<DiskSpec> disks;
  bool kept_logs = false;  // see start_fds.hpp
  NetworkKind network = NetworkKind::none;
};

// Start from a snapshot: memory is mapped private, so the file is shared by all clones. An overlay
// is a sparse file whose pages replace what is below them (state/overlay.hpp); all are mapped
// private, in order. fds: RestoreFds (start_fds.hpp).
struct RestoreRequest {
  Attachment attachment;
  std::vector<DiskSpec> disks;
  uint16_t overlays = 0;
  bool working_set = false;  // see WorkingSetRequest
  bool kept_logs = false;    // see start_fds.hpp
  NetworkKind network = NetworkKind::none;
};

// Opens a byte stream to a vsock port of the guest. Reply: OkReply with one fd, a SOCK_STREAM end.
struct ConnectRequest {
  uint32_t port = 0;
};

// Stops the vCPUs, drains the devices, flushes the disks, writes memory and state. The machine is
// left paused. Reply: SnapshotReply. fds: [memory out, state out], both empty regular files.
struct SnapshotRequest {};

// Takes the state of a running Vm without ending it. Stops the vCPUs, drains and flushes the disks,
// writes the state and, as an overlay (see RestoreRequest), the pages written since the machine
// started. Then each writable disk gets a new top layer, so that the files below it do not change
// any more. Reply: CaptureReply. After a failure the machine runs on as before.
// fds: [pages out, state out, one new layer per writable disk…], all empty regular files.
struct CaptureRequest {
  bool all_pages = false;  // also those of the overlays the machine was started with
  // False: it stays paused until a ResumeRequest. It also goes on by itself when the connection
  // that asked is closed, so that no dead client leaves it standing.
  bool run_on = true;
  bool list_pages = false;  // the overlay gets a page list; a worker of before makes none
  // With run_on false and list_pages: the answer comes as soon as the machine stands, nothing is in
  // flight and the pages are known; all else follows by a WriteCaptureRequest. A worker of before
  // writes at once.
  bool write_later = false;
};

// Has what a capture with write_later left synced and written: disks, pages, state, new layers on
// top. Only by the connection that asked for the capture. Reply: CaptureReply; ErrorReply
// (cancelled) when the machine runs on before that, or another capture comes. After a failure the
// machine stays paused, without the new layers. Not in version 1.
struct WriteCaptureRequest {};

// Copies what the upper of two neighbouring layers holds into the lower one and syncs it. Neither
// the stack of both nor, afterwards, that of the lower one alone reads differently from before.
// Sent to a worker that has no machine, which ends with its reply. Reply: OkReply.
// fds: [lower layer, read-write; upper layer, read-only].
struct MergeRequest {};

// Writes which pages of its memory a restored machine has touched up to now (state/working_set.hpp)
// into a file, for clones to come. Reply: OkReply, or ErrorReply (unsupported: this kernel cannot
// tell). fds: [working set out], an empty regular file.
struct WorkingSetRequest {};

struct PauseRequest {};
// After a pause or a capture: the guest's clocks go on where they stood.
struct ResumeRequest {
  // The layers that a capture without run_on put on top are taken away again: their files become
  // empty. Only for the connection that asked for that capture, and when nothing names the layers
  // below as they were then; else of no effect.
  bool drop_layers = false;
};

// The last bytes of a log; with follow, the stream goes on until the Vm ends or the reader closes.
// Reply: OkReply with one fd to read from. With `positions` a LogsReply, and the stream has no gap:
// where the reader was too slow for the log it ends, and another one may be asked for from there.
struct LogsRequest {
  enum class Which : uint8_t { kernel = 0, app = 1 };
  Which which = Which::kernel;
  bool follow = false;
  bool positions = false;  // older workers know of none, and answer with OkReply
  uint64_t from = 0;       // what stands before this position is left out; needs `positions`
};

struct InfoRequest {};

// Ends the machine now (no guest shutdown). The reply is sent before the worker exits.
struct TerminateRequest {
  bool suspended = false;  // its state was saved: the reason of the end is `suspended`
};

// ---- replies and events ------------------------------------------------------------------------

struct OkReply {};

struct ErrorReply {
  uint32_t code = 0;  // microvm::ErrorCode
  std::string message;
};

// To greeting(): the versions that the worker speaks. Not in version 1; always sent in the version
// that brought it, whatever else the worker speaks: who greets may know no later one.
struct VersionsReply {
  uint16_t oldest = 0;
  uint16_t newest = 0;
};
inline constexpr uint16_t kVersionsReplyVersion = 2;  // for good

// One fd to read from. Positions count all bytes that the log ever had, in whatever life of the Vm.
// Not in version 1.
struct LogsReply {
  uint64_t begin = 0;       // of the stream; after what was asked for where that is lost
  uint64_t life_begin = 0;  // where this life of the Vm began
  uint64_t life = 0;        // another one in each
};

struct SnapshotReply {
  uint64_t memory_bytes = 0;       // size of the memory file
  uint64_t memory_data_bytes = 0;  // of it, not holes
  uint64_t pause_us = 0;
};

struct CaptureReply {
  uint64_t page_bytes = 0;  // data of the overlay
  uint64_t pause_us = 0;    // until this reply, or until the guest ran on
  // What the overlay covers, when it has a page list behind that. 0: it has none.
  uint64_t listed_memory_bytes = 0;
  bool unwritten = false;  // a WriteCaptureRequest is needed, and may find fewer bytes
};

struct SmpProbeReply {
  uint64_t rounds = 0;
  uint64_t tsc_backwards = 0;  // rounds that saw an earlier TSC than the one before them
  uint64_t most_backwards_ticks = 0;
  uint32_t tsc_khz = 0;
};

// How far a start was, in ns since its request was received. 0: not known, or not yet.
struct StartSteps {
  uint64_t received_at_ns = 0;  // by CLOCK_MONOTONIC
  uint64_t devices = 0;         // attached
  uint64_t state = 0;           // read and found good
  uint64_t memory = 0;          // mapped
  uint64_t applied = 0;         // the state, to vCPUs and devices
  uint64_t pages = 0;           // of the working set, those before the guest ran
  uint64_t answered = 0;
  uint64_t entered = 0;  // the guest, for the first time
  uint64_t rang = 0;     // its agent
};

// What went through the guest's network device since the start, virtio headers not counted.
struct NetCounters {
  uint64_t frames_from_guest = 0;
  uint64_t bytes_from_guest = 0;
  uint64_t frames_to_guest = 0;
  uint64_t bytes_to_guest = 0;
  // Of the guest, dropped:
  uint64_t malformed = 0;
  uint64_t spoofed = 0;     // another MAC or address than the guest's own
  uint64_t no_network = 0;  // the link was down, or microvm-net could not be started
  uint64_t overrun = 0;     // the tap, or microvm-net, had no room
  // To the guest, dropped: what its driver has not agreed to take.
  uint64_t unwanted = 0;
  uint64_t starts = 0;  // of microvm-net
  friend bool operator==(const NetCounters&, const NetCounters&) = default;
};

struct InfoReply {
  uint32_t worker_pid = 0;
  bool paused = false;
  uint64_t memory_bytes = 0;
  uint16_t vcpus = 0;
  uint64_t exits = 0;            // KVM_RUN returns since start
  uint64_t start_to_run_ns = 0;  // Boot/Restore request received → first KVM_RUN
  uint64_t devices_needing_reset = 0;
  StartSteps steps{};  // since version 2; an older worker tells of none
  NetCounters net{};   // likewise, and added later
};

// The guest's agent connected to the doorbell. One fd: the stream. Sent to the owner, or to the
// first client that attaches when there is none.
struct AgentEvent {};

// The host could not read or write a disk of the guest, because its file system is full for
// example. The guest saw an I/O error and goes on with what it makes of it. Sent once, for the
// first time.
struct DiskErrorEvent {
  uint32_t code = 0;  // microvm::ErrorCode
  std::string message;
};

// The network of a running guest changed. Not in version 1.
struct NetworkEvent {
  enum class What : uint8_t {
    up = 0,      // microvm-net is there
    failed = 1,  // it could not be started; with the guest's next frame it is tried again
    ended = 2,   // it went away, and the guest's connections with it; likewise. Or the tap did
  };
  What what = What::up;
  uint32_t code = 0;  // microvm::ErrorCode
  std::string message;
};

// What a Vm has used in one life of its worker. 0: not known.
struct Usage {
  uint64_t exits = 0;     // KVM_RUN returns
  uint64_t cpu_us = 0;    // of the whole worker, in user and system mode
  uint64_t lived_us = 0;  // from the request that started it to its end
};

// The machine ended; the worker exits after this.
struct ExitEvent {
  enum class Reason : uint8_t {
    terminated = 0,  // TerminateRequest, or the owner went away
    power_off = 1,   // the guest powered off
    reset = 2,       // the guest asked for a reset: with panic=-1 that is what a panic looks like
    panic = 3,       // a reset after the kernel log said "Kernel panic"
    triple_fault = 4,
    internal_error = 5,  // KVM could not go on; detail has the exit
    suspended = 6,       // TerminateRequest after its state was saved
  };
  Reason reason = Reason::terminated;
  std::string detail;
  Usage usage{};  // since version 2
};

// A message of a type that this side does not know. Never sent.
struct UnknownMessage {
  uint16_t type = 0;
};

using Message =
    std::variant<ShapeRequest, ProbeRequest, BootRequest, RestoreRequest, ConnectRequest,
                 SnapshotRequest, CaptureRequest, WriteCaptureRequest, MergeRequest,
                 WorkingSetRequest, PauseRequest, ResumeRequest, LogsRequest, InfoRequest,
                 TerminateRequest, OkReply, ErrorReply, SnapshotReply, CaptureReply, InfoReply,
                 AgentEvent, ExitEvent, DiskErrorEvent, NetworkEvent, VersionsReply, LogsReply,
                 SmpProbeRequest, SmpProbeReply, UnknownMessage>;

struct Envelope {
  uint32_t request_id = 0;
  Message message;
  uint16_t version = kControlVersion;
};

// Error unsupported: its version has no such message.
[[nodiscard]] Result<Bytes> encode(const Envelope& envelope);

// Errors: protocol (not one whole valid message), unsupported (a version we do not know).
[[nodiscard]] Result<Envelope> decode(ByteView bytes);

struct Header {
  uint16_t version = 0;
  uint16_t type = 0;
  uint32_t request_id = 0;
};
// For an answer to what can not be decoded. Empty when there are fewer bytes.
[[nodiscard]] std::optional<Header> read_header(ByteView bytes);

// What a worker of any version answers at any time: an InfoRequest in version 1 with an id that no
// library came to by counting. One of version 1 answers with InfoReply or ErrorReply, later ones
// with VersionsReply.
inline constexpr uint32_t kGreetingId = 0xffff'ffff;
[[nodiscard]] Envelope greeting();
[[nodiscard]] bool is_greeting(const Envelope& envelope);

}  // namespace microvm::wire
