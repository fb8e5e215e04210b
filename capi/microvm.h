// libmicrovm for C: AWS Lambda MicroVMs as a library. The same nouns, verbs, options and errors as
// in the C++ headers <microvm/*.hpp>. capi/README.md has the rules at length.
//
// Status. Functions that can fail return an mvm_status: MVM_OK or a negative code. Their last
// parameter, `err`, may be NULL; else *err becomes NULL, or after a failure an mvm_error with one
// line that says what failed, why, and what to do; release it with mvm_error_free(). What *err held
// before is not released. Other outputs are set by success and left alone by a failure.
//
// Handles (mvm_runtime *, mvm_vm *, …) are names for objects of the library and point nowhere. Each
// is released once with its own mvm_…_free(), which takes NULL too. A handle that was freed, is of
// another kind or was never one is MVM_INVALID_ARGUMENT wherever it is given, and freeing it again
// does nothing. A handle may be freed while other threads are in calls with it: free() waits for
// nothing, and what it does happens when the last of these calls has returned. There are at most
// 1,048,576 handles at a time in a process; more are MVM_BUSY.
//
// Results (infos, lists, bytes, strings) are one allocation each, the caller's, released with
// mvm_free(); what they point to goes with them. Strings in them are never NULL. A parameter
// `out_or_null` may be NULL where the result is of no interest; `out` may not.
//
// Structs begin with struct_size. In options the caller sets it, to sizeof the struct, and zero in
// every other field means the default:
//   mvm_run_options options = {.struct_size = sizeof options, .name = "web"};
// A smaller struct_size (an older header) is taken as if zeroes followed; a larger one (a newer
// header) is accepted when the part that this library does not know is zero and is MVM_UNSUPPORTED
// otherwise; 0 is MVM_INVALID_ARGUMENT. NULL options and limits are all defaults. In results the
// library sets struct_size: a field is there when it lies below it. `reserved` is 0.
//
// Text is NUL-terminated, bytes have a size. NULL text in options means empty. Lists in options are
// a pointer and a count. Options, and all that they point to, are read before the call returns and
// not kept, callbacks and their `user` apart. mvm_bool: 0 is false, everything else is true;
// results have 0 and 1. Times are milliseconds where the name ends in _ms, microseconds with _us,
// nanoseconds with _ns; sizes are bytes. Points in time are RFC 3339, UTC, where they are text.
//
// Threads. Every function may be called from every thread at any time. What one thread at a time
// may do with a handle is said at its type: a second one that tries gets MVM_BUSY. Callbacks say
// where they run; they must not unwind (longjmp, exceptions) through the library. No function of
// the library changes signal dispositions or masks of its caller.
//
// fds that a function returns are borrowed, non-blocking, and live as long as their handle: for
// poll(), never to be read, written or closed; mvm_vm_connect()'s is the caller's. A fd may be
// readable without cause: the try_ function that belongs to it then says MVM_WOULD_BLOCK.
#ifndef MICROVM_H_
#define MICROVM_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define MVM_API __attribute__((visibility("default")))
#else
#define MVM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

// --- Version ------------------------------------------------------------------------------------

// What this header knows. It grows by one with every addition; nothing is ever taken away or
// changed. A program that needs all of its header calls mvm_abi_version() first and gives up when
// the library says less.
#define MVM_ABI_VERSION 1

MVM_API uint32_t mvm_abi_version(void);
MVM_API const char* mvm_version(void);  // of the library, "0.1.0"; not to be freed

// --- Status and errors --------------------------------------------------------------------------

typedef uint32_t mvm_bool;

typedef int32_t mvm_status;
enum {
  MVM_OK = 0,
  MVM_INVALID_ARGUMENT = -1,     // the caller's input is wrong; the message names it
  MVM_NOT_FOUND = -2,            // no such image, vm, kernel, file
  MVM_ALREADY_EXISTS = -3,       //
  MVM_PERMISSION_DENIED = -4,    // the operating system refused
  MVM_UNSUPPORTED = -5,          // valid, but this host or version cannot do it
  MVM_BUSY = -6,                 // the object is in a state that excludes the call
  MVM_CANCELLED = -7,            // the mvm_cancel of the call was fired
  MVM_DEADLINE_EXCEEDED = -8,    // the caller's or the library's time limit passed
  MVM_OUT_OF_DISK = -9,          // ENOSPC, EDQUOT
  MVM_OUT_OF_MEMORY = -10,       //
  MVM_CORRUPT = -11,             // a snapshot, layer or manifest fails its checks
  MVM_INCOMPATIBLE_CPU = -12,    // the snapshot needs CPU features this host lacks
  MVM_KVM_UNAVAILABLE = -13,     // no /dev/kvm, or no permission to open it
  MVM_KVM_UNSUITABLE = -14,      // /dev/kvm opens but cannot run a stock kernel
  MVM_BUILD_FAILED = -15,        // a Dockerfile step failed; the message has its last output
  MVM_SYNTAX = -16,              // Dockerfile or manifest syntax: file:line in the message
  MVM_GUEST_FAILED = -17,        // the guest panicked, hung or powered off when it should not have
  MVM_VM_GONE = -18,             // the microVM or its worker has ended
  MVM_CONNECTION_REFUSED = -19,  // nothing listens on that guest port
  MVM_IO = -20,                  // any other operating system error
  MVM_PROTOCOL = -21,            // a peer (worker, agent) broke the wire format
  MVM_INTERNAL = -22,            // a bug of the library
  MVM_VM_SUSPENDED = -23,        // the Vm was suspended or rolled back under a stream
  MVM_WOULD_BLOCK = -24,         // nothing is there now: wait for the fd
};
// "ok", "invalid_argument", …; "unknown" for other numbers.
MVM_API const char* mvm_error_code_name(mvm_status status);

// Unlike a handle, plain memory: it is the caller's alone, and gone when freed.
typedef struct mvm_error mvm_error;
MVM_API mvm_status mvm_error_code(const mvm_error* error);  // of NULL: MVM_OK
// One lower-case line without a line break, as long as the error lives; of NULL: "".
MVM_API const char* mvm_error_message(const mvm_error* error);
MVM_API void mvm_error_free(mvm_error* error);

// Releases a result. NULL does nothing.
MVM_API void mvm_free(void* result);

// --- Bytes and names ----------------------------------------------------------------------------

typedef struct mvm_bytes {
  const uint8_t* data;  // never NULL; a 0 that does not count stands behind the last
  size_t size;
} mvm_bytes;

typedef struct mvm_key_value {
  const char* key;
  const char* value;
} mvm_key_value;

// Takes the next bytes, which live as long as the call of it. 0, or a negative mvm_status, which
// ends the call that it was given to and is what that call returns. On the caller's thread.
typedef int32_t (*mvm_data_sink)(void* user, const void* data, size_t size);
// Fills the front of the buffer (`capacity` is not 0) and returns how many bytes; 0 is the end, a
// negative mvm_status ends the call as above. On the caller's thread.
typedef int64_t (*mvm_data_source)(void* user, void* buffer, size_t capacity);

// --- Limits and cancelling ----------------------------------------------------------------------

// Cuts calls short from another thread: when it has fired, all calls that were given it return
// MVM_CANCELLED as soon as they can leave nothing behind, and so does every later one.
typedef struct mvm_cancel mvm_cancel;

MVM_API mvm_status mvm_cancel_new(mvm_cancel** out, mvm_error** err);
// May be called from a signal handler too. MVM_OK, also when it had fired before, or
// MVM_INVALID_ARGUMENT.
MVM_API mvm_status mvm_cancel_fire(mvm_cancel* cancel);
MVM_API mvm_bool mvm_cancel_fired(mvm_cancel* cancel);  // of what is no handle: 0
// Readable from the moment of firing on.
MVM_API mvm_status mvm_cancel_fd(mvm_cancel* cancel, int32_t* out, mvm_error** err);
MVM_API void mvm_cancel_free(mvm_cancel* cancel);  // calls that have it go on without

// Limits of one call.
typedef struct mvm_limits {
  uint32_t struct_size;
  uint32_t reserved;
  mvm_cancel* cancel;  // NULL: none
  // 0: none beyond the library's own. When it is over the call fails, also where it would not have
  // to wait. Negative: MVM_INVALID_ARGUMENT.
  int64_t timeout_ms;
} mvm_limits;

// Progress of a long call. On the calling thread or one of the library's, never concurrently, and
// not after the call has returned.
typedef struct mvm_progress {
  uint32_t struct_size;
  uint32_t reserved;
  const char* step;       // "STEP 3/7: RUN python3 -m py_compile …"
  uint64_t done;          // in units of total
  uint64_t total;         // 0: not known
  const uint8_t* output;  // output of a RUN, raw bytes, when there is some
  size_t output_size;
} mvm_progress;
typedef void (*mvm_progress_fn)(void* user, const mvm_progress* progress);

// --- Hooks --------------------------------------------------------------------------------------

// HTTP calls into the app at the turns of its life. Each is
//   POST /microvm/runtime/v1/NAME   HTTP/1.1, Content-Type: application/json, Connection: close
// to one TCP port of the guest's loopback, made from inside the guest. 200 is done. Anything else,
// no answer in time, or nobody who listens for half a second is a failure; of ready and validate,
// 503 and nobody who listens mean: ask again.
//
//   hook      when                                   body                         after a failure
//   ready     build: until the app may be            {}                           the build fails
//             snapshotted
//   validate  build: in a throw-away clone of        {}                           the build fails
//             the finished snapshot
//   run       once in each new Vm, forks and those   {"microvmId": its id,        the Vm is
//             of checkpoints too, before the          "runHookPayload": text}     terminated, the
//             caller has it                                                       call fails
//   suspend   before a running Vm is suspended       {"microvmId": its id}        event; goes on
//   resume    after a resume or a rollback, before   {"microvmId": its id}        event; goes on
//             calls reach the guest; also after a
//             suspend that failed
//   terminate before a running Vm is terminated      {"microvmId": its id}        event; goes on
//
// The event is MVM_VM_EVENT_HOOK_FAILED. Neither a checkpoint nor the end of a Vm that sleeps, or
// dies with its owner's process, calls any.
#define MVM_HOOK_PATH "/microvm/runtime/v1/"
#define MVM_MAX_RUN_HOOK_PAYLOAD_BYTES 65536

// Which hooks an image has: those with a time for their answer.
typedef struct mvm_hooks {
  uint32_t struct_size;
  uint32_t port;         // of the guest, to 65535; needed when there is a hook
  int64_t ready_ms;      // suits most: 60,000; at most 3,600,000
  int64_t validate_ms;   // likewise
  int64_t run_ms;        // suits most: 10,000; at most 60,000
  int64_t suspend_ms;    // likewise
  int64_t resume_ms;     // likewise
  int64_t terminate_ms;  // suits most: 5,000; at most 60,000
} mvm_hooks;

// --- Idle policy --------------------------------------------------------------------------------

// When a Vm is put to sleep, how long it may sleep, how long it may live. Given with the start, or
// anew with a resume; recorded with the Vm. Carried out by the
// Runtime that started or resumed the Vm, as long as it is open; its times count from there. A
// Runtime keeps no Vm that outlives its owner: of one, the policy ends there with the last copy of
// the handle that started or resumed it and the last mvm_keep_awake of that handle. Zero times mean
// never. A Vm is idle while none of this holds: somebody is attached to a program of exec, waits
// for its end, or is attached to a terminal; bytes move between the host and its ports; its
// programs use more CPU than the threshold; an mvm_keep_awake is held, or the file
// /run/microvm/keep-awake is there in the guest.
typedef struct mvm_idle_policy {
  uint32_t struct_size;
  mvm_bool lifetime_counts_sleep;  // false: the time asleep is not part of the lifetime
  int64_t idle_after_ms;           // idle without a break: then it is suspended
  int64_t suspended_for_ms;        // asleep without a break: then it is terminated
  int64_t lifetime_ms;             // since it was started: then it is terminated, asleep or not
  double cpu_threshold;            // of one CPU, averaged between two looks at it; 0: 0.05
  // Calls that need the guest of a suspended Vm fail with MVM_BUSY until mvm_vm_resume().
  mvm_bool no_auto_resume;
  uint32_t reserved;
} mvm_idle_policy;

// --- How a Vm ended, and events -----------------------------------------------------------------

typedef int32_t mvm_vm_end;
enum {
  MVM_VM_END_NONE = 0,         // it has not ended
  MVM_VM_END_TERMINATED = 1,   // somebody asked for it, or its owner went away
  MVM_VM_END_POWERED_OFF = 2,  // by its guest
  MVM_VM_END_RESET = 3,        // likewise
  MVM_VM_END_PANICKED = 4,     // the guest's kernel
  MVM_VM_END_CRASHED = 5,      // it stopped with a triple fault, or KVM could not go on with it
  MVM_VM_END_KILLED = 6,       // its worker was, or left no word
};
MVM_API const char* mvm_vm_end_name(mvm_vm_end end);  // of another number: "unknown"

typedef struct mvm_vm_ending {
  uint32_t struct_size;
  mvm_vm_end end;
  const char* reason;  // one line
} mvm_vm_ending;

// Values of mvm_vm_event.cause. A suspended Vm that was resumed for the sake of another call has
// what that call was about to do instead: "exec", "connect", "read a file", …
#define MVM_CAUSE_CALL "call"                     // mvm_vm_suspend(), mvm_vm_fork(), …
#define MVM_CAUSE_IDLE "idle"                     // idle_after_ms
#define MVM_CAUSE_GUEST "the guest asked for it"  // /run/microvm/suspend
#define MVM_CAUSE_SLEPT "slept too long"          // suspended_for_ms
#define MVM_CAUSE_LIFETIME "lifetime"             // lifetime_ms
#define MVM_CAUSE_RUN_HOOK "run hook"             // that failed
#define MVM_CAUSE_ITSELF "itself"                 // it ended; detail says in what way
#define MVM_CAUSE_OWNER "owner"                   // that it dies with went away

typedef int32_t mvm_vm_event_kind;
enum {
  MVM_VM_EVENT_STARTED = 0,
  MVM_VM_EVENT_SUSPENDING = 1,  // the guest has stopped
  MVM_VM_EVENT_SUSPENDED = 2,   // its state is on the disk
  MVM_VM_EVENT_RESUMED = 3,
  MVM_VM_EVENT_RUNS_ON = 4,  // a suspend failed: detail says why
  MVM_VM_EVENT_FORKED = 5,
  MVM_VM_EVENT_CHECKPOINTED = 6,
  MVM_VM_EVENT_ROLLED_BACK = 7,
  // Told at once, also of one that ended by itself, and once: by the process that ends it, else by
  // the first that sees it. The detail is the reason.
  MVM_VM_EVENT_TERMINATED = 8,
  MVM_VM_EVENT_HOOK_FAILED = 9,  // detail names the hook and says why; what it was for goes on
  // Its network could not be started, or went away and its flows with it; detail says why. The
  // guest's next packet tries again. Told by each process that talks with its worker.
  MVM_VM_EVENT_NETWORK_FAILED = 10,
};
MVM_API const char* mvm_vm_event_name(mvm_vm_event_kind kind);  // of another number: "unknown"

typedef struct mvm_vm_event {
  uint32_t struct_size;
  mvm_vm_event_kind kind;
  const char* time;
  const char* vm_id;
  const char* cause;   // MVM_CAUSE_CALL, …
  uint64_t took_us;    // what it cost, hooks included
  const char* detail;  // one line, may be empty
  mvm_vm_end end;      // of terminated; none in what an older version has told
  uint32_t reserved;
} mvm_vm_event;

// --- Runtime ------------------------------------------------------------------------------------

// The root object: a data directory and what is in it. Any thread.
typedef struct mvm_runtime mvm_runtime;
typedef struct mvm_vm mvm_vm;
typedef struct mvm_vm_start mvm_vm_start;
typedef struct mvm_event_stream mvm_event_stream;

typedef void (*mvm_log_fn)(void* user, const char* line);
typedef void (*mvm_event_fn)(void* user, const mvm_vm_event* event);
typedef void (*mvm_release_fn)(void* user);

typedef struct mvm_runtime_options {
  uint32_t struct_size;
  uint32_t pool_size;  // workers kept started for the next run of each image this Runtime has run
  // Empty: $MICROVM_DATA_DIR, else $XDG_DATA_HOME/libmicrovm, else ~/.local/share/libmicrovm.
  const char* data_dir;
  // What the running Vms of the directory may have together, each counted with all the memory its
  // guest sees. A run, fork or resume above it is refused with MVM_OUT_OF_MEMORY; a suspended Vm
  // counts nothing. 0: no limit. Other processes that open the directory have limits of their own.
  uint64_t memory_limit_bytes;
  // How many calls, through all handles of this Runtime, may wait for one Vm's change of state,
  // that is, mostly, for the resume that all of them need: further ones fail with MVM_BUSY at once.
  // mvm_vm_terminate() always waits. 0: 4096; UINT32_MAX: no limit.
  uint32_t max_waiting_calls;
  uint32_t reserved;
  mvm_log_fn log;  // one line each, without its end; any thread; NULL: dropped
  // Each change of a Vm by this process, and the end of one that this process was the first to see;
  // any thread, as long as the Runtime or one of its Vms is there; that a Vm ended by itself only
  // while the Runtime is. It must not use the Vm it is told of, nor free the Runtime. The event
  // lives as long as the call of it.
  mvm_event_fn on_event;
  void* user;  // of both
  // Called once, when neither will be called again: some time after the Runtime and the last handle
  // of its Vms were freed; on any thread. Not when mvm_runtime_open() fails.
  mvm_release_fn release;
} mvm_runtime_options;

// Several processes may open the same directory.
MVM_API mvm_status mvm_runtime_open(const mvm_runtime_options* options, const mvm_limits* limits,
                                    mvm_runtime** out, mvm_error** err);
// Ends the Runtime: Vms that die with their owner end when their last handle is gone too.
MVM_API void mvm_runtime_free(mvm_runtime* runtime);
MVM_API mvm_status mvm_runtime_data_dir(mvm_runtime* runtime, char** out, mvm_error** err);

// --- Kernels ------------------------------------------------------------------------------------

typedef struct mvm_kernel_info {
  uint32_t struct_size;
  uint32_t reserved;
  const char* name;    // "6.12.117+deb12-cloud-amd64"
  const char* digest;  // sha256 of the vmlinux, hex
  uint64_t size_bytes;
} mvm_kernel_info;
typedef struct mvm_kernel_list {
  size_t count;
  const mvm_kernel_info* const* items;
} mvm_kernel_list;

// From a Debian linux-image .deb. Importing the same kernel again changes nothing.
MVM_API mvm_status mvm_runtime_import_kernel(mvm_runtime* runtime, const char* deb,
                                             const mvm_limits* limits,
                                             mvm_kernel_info** out_or_null, mvm_error** err);
MVM_API mvm_status mvm_runtime_kernels(mvm_runtime* runtime, const mvm_limits* limits,
                                       mvm_kernel_list** out, mvm_error** err);
// Errors: MVM_NOT_FOUND; MVM_BUSY while an image was built with it or is being built; MVM_CORRUPT
// when an image can not be read, which may need it.
MVM_API mvm_status mvm_runtime_remove_kernel(mvm_runtime* runtime, const char* name_or_digest,
                                             const mvm_limits* limits, mvm_error** err);

// --- Bases --------------------------------------------------------------------------------------

// A root file system imported from a tar: what FROM names.
typedef struct mvm_base_info {
  uint32_t struct_size;
  uint32_t reserved;
  const char* name;    // "debian:bookworm"
  const char* digest;  // sha256 of the ext4 file, hex
  uint64_t size_bytes;
} mvm_base_info;
typedef struct mvm_base_list {
  size_t count;
  const mvm_base_info* const* items;
} mvm_base_list;

typedef struct mvm_import_base_options {
  uint32_t struct_size;
  uint32_t reserved;
  // The root disk as the guest sees it, of this base and of every image on it; the file is sparse.
  // It also bounds how many files there can be: one for each 16 KiB. A multiple of 4096 from 16 MiB
  // to 4 TiB; 0: 8 GiB. MVM_INVALID_ARGUMENT: also when the tar does not fit.
  uint64_t disk_bytes;
  mvm_progress_fn progress;  // done/total in bytes of the tar file
  void* progress_user;
} mvm_import_base_options;

// From a tar (any compression libarchive knows) of a root file system.
MVM_API mvm_status mvm_runtime_import_base(mvm_runtime* runtime, const char* name, const char* tar,
                                           const mvm_import_base_options* options,
                                           const mvm_limits* limits, mvm_base_info** out_or_null,
                                           mvm_error** err);
MVM_API mvm_status mvm_runtime_bases(mvm_runtime* runtime, const mvm_limits* limits,
                                     mvm_base_list** out, mvm_error** err);
// Its content goes too, unless another name means the same. Errors: as for a kernel.
MVM_API mvm_status mvm_runtime_remove_base(mvm_runtime* runtime, const char* name,
                                           const mvm_limits* limits, mvm_error** err);

// --- Networks -----------------------------------------------------------------------------------

typedef int32_t mvm_network_mode;
enum {
  MVM_NETWORK_AUTOMATIC = 0,  // user where the image has a network device, else none
  MVM_NETWORK_NONE = 1,       // the guest's link is down
  // Each Vm in a network of its own, whose flows are made anew from this host; no root.
  MVM_NETWORK_USER = 2,
  MVM_NETWORK_TAP = 3,  // a tap of yours; what is behind it is your word: no policy
};
MVM_API const char* mvm_network_mode_name(mvm_network_mode mode);  // of another number: "unknown"

// Of what no rule says anything about.
typedef int32_t mvm_network_default;
enum {
  // Allowed, but for loopback, the host itself, link-local, private, CGNAT, multicast.
  MVM_NETWORK_DEFAULT_INTERNET = 0,
  MVM_NETWORK_DEFAULT_ALLOW = 1,
  MVM_NETWORK_DEFAULT_DENY = 2,
};
MVM_API const char* mvm_network_default_name(mvm_network_default otherwise);

// What a Vm may reach (mode user). Its resolver works whatever the rules are.
//
// A rule is a line, and the first that fits counts:
//   allow|deny [tcp|udp|icmp] TARGET[:PORTS]
//   TARGET  192.0.2.0/24, 192.0.2.7, 2001:db8::/32, [2001:db8::7], example.org, *.example.org
//           (below it, not itself), * (everything), and the words internet (what the default of
//           that name allows), private, loopback, link-local, host (the host's own addresses)
//   PORTS   443 or 80,443 or 8000-8100; behind an IPv6 address only if that is in brackets
// Domains: in their ASCII form (xn--…), upper and lower case are the same. Such a rule holds for
// addresses that the resolver has given the guest under that name, as long as that answer counts,
// and only for flows that name no other host (TLS server name, HTTP Host). At most 1,024 rules of
// 512 bytes; 32 ports or ranges of them in one.
typedef struct mvm_network_policy {
  uint32_t struct_size;
  mvm_network_default otherwise;
  const char* const* rules;
  size_t rules_count;
  uint64_t bytes_per_second;  // both directions together; 0: no limit
  uint32_t flows_per_second;  // new ones; 0: no limit
  uint32_t open_flows;        // at a time, at most 16,384; 0: 1,024
} mvm_network_policy;

// The tap of mode tap: one Vm's, so that a fork brings its own.
typedef struct mvm_tap_options {
  uint32_t struct_size;
  // One of both. `fd` (0: none): a tap with IFF_NO_PI and IFF_VNET_HDR, borrowed until the call
  // returns; it is gone with this process, so that the Vm resumed elsewhere has no link. `name`: of
  // a tap of the host that this process, and whoever resumes the Vm, may open.
  int32_t fd;
  const char* name;
  // Of the guest, given to it at start and after each resume, with their prefix: "192.0.2.7/24",
  // "2001:db8::7/64". None: the guest sees to it. At most 8 of each.
  const char* const* addresses;
  size_t addresses_count;
  const char* const* gateways;  // one of a family
  size_t gateways_count;
  const char* const* dns;  // resolvers; none: the guest's resolv.conf stays
  size_t dns_count;
  const char* mac;  // "02:00:5e:10:00:01"; empty: one of its own for each Vm
} mvm_tap_options;

typedef struct mvm_network_options {
  uint32_t struct_size;
  mvm_network_mode mode;
  const mvm_network_policy* policy;  // of mode user; NULL: the internet
  const mvm_tap_options* tap;        // of mode tap
} mvm_network_options;

// All but the first three: of mode user, since its network was started last, which the guest's
// first packet after a start or resume does.
typedef struct mvm_network_counters {
  uint32_t struct_size;
  uint32_t reserved;
  // Of its device, since the start or resume.
  uint64_t packets_from_guest;
  uint64_t packets_to_guest;
  uint64_t packets_dropped;   // malformed, of another sender than the guest, or for no room
  uint64_t bytes_from_guest;  // of flows
  uint64_t bytes_to_guest;
  uint64_t flows;  // that were let through
  uint64_t flows_open;
  uint64_t flows_refused_by_rule;
  uint64_t flows_refused_by_limit;
  uint64_t flows_failed;  // the destination could not be reached
  uint64_t dns_queries;
  uint64_t dns_failed;  // no answer in time, or none that could be used
} mvm_network_counters;

typedef struct mvm_network_info {
  uint32_t struct_size;
  mvm_network_mode mode;  // never automatic
  const mvm_network_policy* policy;
  const char* tap;  // its name
  const char* mac;  // of mode tap
  const mvm_network_counters* counters;
  mvm_bool is_running;  // its microvm-net, which the guest's first packet starts
  uint32_t reserved;
} mvm_network_info;

typedef int32_t mvm_flow_kind;
enum {
  MVM_FLOW_OPENED = 0,
  MVM_FLOW_ENDED = 1,
  MVM_FLOW_REFUSED = 2,  // `reason` is the rule, or the limit
  MVM_FLOW_FAILED = 3,   // `reason` is what went wrong
  MVM_FLOW_NAME = 4,     // the guest asked for `name`
};
MVM_API const char* mvm_flow_kind_name(mvm_flow_kind kind);  // of another number: "unknown"

// What happened to a flow, or to a name that was asked for.
typedef struct mvm_flow_record {
  uint32_t struct_size;
  mvm_flow_kind kind;
  const char* time;
  const char* protocol;       // "tcp", "udp", "icmp"
  const char* address;        // where to
  const char* name;           // by which the guest knows the address; printable, the guest's word
  const char* reason;         // opened: the rule that allowed it; empty: the default
  uint64_t bytes_from_guest;  // of one that ended
  uint64_t bytes_to_guest;
  uint64_t lost;  // records before this one that a slow reader missed
  uint32_t port;
  uint32_t reserved;
} mvm_flow_record;

// --- Images -------------------------------------------------------------------------------------

// What runs when a Vm starts and how, from the Dockerfile's ENV, USER, CMD and so on; the hooks are
// the build's.
typedef struct mvm_image_config {
  uint32_t struct_size;
  uint32_t reserved;
  const char* const* entrypoint;
  size_t entrypoint_count;
  const char* const* cmd;
  size_t cmd_count;
  const char* const* env;  // "NAME=value"
  size_t env_count;
  const char* workdir;
  const char* user;
  const uint16_t* exposed_ports;  // TCP
  size_t exposed_ports_count;
  const mvm_key_value* labels;  // by key
  size_t labels_count;
  const char* stop_signal;
  const mvm_hooks* hooks;  // never NULL
} mvm_image_config;

typedef struct mvm_image_info {
  uint32_t struct_size;
  uint32_t vcpus;
  const char* name;     // "counter"
  const char* version;  // "1", "2", …: the newest is what a bare name means
  const char* created;
  const char* base;    // name of the base image
  const char* kernel;  // name of the kernel
  uint64_t memory_bytes;
  uint64_t memory_data_bytes;  // of the memory snapshot, not holes
  uint64_t disk_data_bytes;    // of the image's own disk layers
  uint64_t boot_ms;            // cold boot of the build: power-on → agent ready
  // Its command runs in its microVMs, which end with it. False: it has none, or one that had ended
  // with success when the snapshot was to be made; its microVMs live until they are ended.
  mvm_bool has_app;
  uint32_t reserved;
  const mvm_image_config* config;  // never NULL
} mvm_image_info;
typedef struct mvm_image_list {
  size_t count;
  const mvm_image_info* const* items;
} mvm_image_list;

typedef struct mvm_build_options {
  uint32_t struct_size;
  uint32_t vcpus;                 // 0: 1
  const char* context;            // directory
  const char* dockerfile;         // empty: context/Dockerfile
  const char* tag;                // "name"; the version is assigned
  const char* const* build_args;  // "NAME=value"; the last of a name counts
  size_t build_args_count;
  const char* kernel;     // empty: the newest imported one
  uint64_t memory_bytes;  // 0: 512 MiB
  // The app is ready when something listens on this port; 0: the first EXPOSE, or, without one, as
  // soon as the command waits for something. With a ready hook that decides, in its own time.
  // Without port and hooks an image need not have an app (mvm_image_info.has_app).
  uint32_t ready_port;
  // RUN finds the proxy variables of this process (http_proxy, https_proxy, no_proxy, …), as if
  // they had been given as build arguments. One on this host or in a private network also needs a
  // rule that allows it.
  mvm_bool host_proxy;
  int64_t ready_timeout_ms;  // 0: 60,000
  const mvm_hooks* hooks;    // NULL: none
  mvm_progress_fn progress;
  void* progress_user;
  // Of RUN, of the app until the snapshot, and of the clone that tries it; NULL: the internet, and
  // nothing of this host or its networks. RUN --network=none has none in any case. No tap.
  const mvm_network_options* network;
} mvm_build_options;

// Of packing and unpacking.
typedef struct mvm_pack_options {
  uint32_t struct_size;
  uint32_t reserved;
  mvm_progress_fn progress;  // done/total in bytes of the memory snapshot
  void* progress_user;
} mvm_pack_options;

// `options` may not be NULL.
MVM_API mvm_status mvm_runtime_build(mvm_runtime* runtime, const mvm_build_options* options,
                                     const mvm_limits* limits, mvm_image_info** out_or_null,
                                     mvm_error** err);
MVM_API mvm_status mvm_runtime_images(mvm_runtime* runtime, const mvm_limits* limits,
                                      mvm_image_list** out, mvm_error** err);
// "name" or "name:version".
MVM_API mvm_status mvm_runtime_image(mvm_runtime* runtime, const char* reference,
                                     const mvm_limits* limits, mvm_image_info** out,
                                     mvm_error** err);
// MVM_BUSY while a Vm runs or sleeps on it, or a checkpoint needs it.
MVM_API mvm_status mvm_runtime_remove_image(mvm_runtime* runtime, const char* reference,
                                            const mvm_limits* limits, mvm_error** err);
// At-rest form: memory as independent zstd frames, checked by digests; unpack makes it runnable
// again. A packed image is refused by run with a message that says so. After an error, of the
// limits too, the image is as it was.
MVM_API mvm_status mvm_runtime_pack_image(mvm_runtime* runtime, const char* reference,
                                          const mvm_pack_options* options, const mvm_limits* limits,
                                          mvm_image_info** out_or_null, mvm_error** err);
MVM_API mvm_status mvm_runtime_unpack_image(mvm_runtime* runtime, const char* reference,
                                            const mvm_pack_options* options,
                                            const mvm_limits* limits, mvm_image_info** out_or_null,
                                            mvm_error** err);
// Starts `count` workers shaped for the image now, so that the next runs find them; what the limits
// leave missing is started beside the next run.
MVM_API mvm_status mvm_runtime_warm(mvm_runtime* runtime, const char* image, uint32_t count,
                                    const mvm_limits* limits, mvm_error** err);

// --- Running and finding Vms --------------------------------------------------------------------

typedef struct mvm_run_options {
  uint32_t struct_size;
  mvm_bool outlives_owner;  // false: the Vm ends with the process that started it
  const char* name;         // empty: none; unique in the Runtime, usable instead of the id
  // Until the agent is ready; the first launch of an image checks its files before that. 0: 30,000.
  int64_t start_timeout_ms;
  const mvm_idle_policy* idle;  // NULL: never idle
  // For the image's run hook: UTF-8, at most MVM_MAX_RUN_HOOK_PAYLOAD_BYTES. MVM_INVALID_ARGUMENT
  // when it is not, or when the image has no such hook.
  const char* run_hook_payload;
  // NULL: automatic. MVM_UNSUPPORTED: mode user or tap, and the image has no network device, as
  // those of before have not.
  const mvm_network_options* network;
} mvm_run_options;

typedef int32_t mvm_vm_state;
enum {
  MVM_VM_STATE_RUNNING = 0,
  MVM_VM_STATE_SUSPENDING = 1,  // seen by the handle that suspends it; others see it run
  MVM_VM_STATE_SUSPENDED = 2,
  MVM_VM_STATE_TERMINATING = 3,  // likewise: its terminate hook is asked, its worker goes
  MVM_VM_STATE_TERMINATED = 4,
};
MVM_API const char* mvm_vm_state_name(mvm_vm_state state);  // of another number: "unknown"

typedef struct mvm_vm_info {
  uint32_t struct_size;
  mvm_vm_state state;
  const char* id;  // 12 hex digits
  const char* name;
  const char* image;  // "name:version"
  // Of a suspended or terminated one how its last worker ended; of one that a newer version of the
  // library made, that it did: then only id and state are known.
  const char* state_reason;
  const char* created;
  uint64_t memory_bytes;
  uint32_t vcpus;
  uint32_t worker_pid;
  mvm_vm_end end;  // of a terminated one
  mvm_bool dies_with_owner;
} mvm_vm_info;
typedef struct mvm_vm_list {
  size_t count;
  const mvm_vm_info* const* items;
} mvm_vm_list;

// Launches from the image's snapshot; returns when the agent is ready and the run hook, if the
// image has one, was answered. MVM_GUEST_FAILED: also when that hook fails; nothing stays behind.
MVM_API mvm_status mvm_runtime_run(mvm_runtime* runtime, const char* image,
                                   const mvm_run_options* options, const mvm_limits* limits,
                                   mvm_vm** out, mvm_error** err);
// The same by a thread of the Runtime's, without waiting for anything: for many at a time, and for
// event loops. What mvm_runtime_run() checks is checked there.
MVM_API mvm_status mvm_runtime_start(mvm_runtime* runtime, const char* image,
                                     const mvm_run_options* options, mvm_vm_start** out,
                                     mvm_error** err);
// All that are there: running, asleep, or ended and not yet removed. One that a newer version of
// the library made is listed, kept, and MVM_UNSUPPORTED to every call that needs more.
MVM_API mvm_status mvm_runtime_vms(mvm_runtime* runtime, const mvm_limits* limits,
                                   mvm_vm_list** out, mvm_error** err);
MVM_API mvm_status mvm_runtime_attach(mvm_runtime* runtime, const char* id_or_name,
                                      const mvm_limits* limits, mvm_vm** out, mvm_error** err);
// Ends it if needed, as mvm_vm_terminate() does within the limits; forgets it.
MVM_API mvm_status mvm_runtime_remove_vm(mvm_runtime* runtime, const char* id_or_name,
                                         const mvm_limits* limits, mvm_error** err);

// A Vm that is being started, by a thread of its Runtime. At most eight of a Runtime are carried
// out at a time, the others wait for their turn; the times of mvm_run_options count from there. A
// Runtime that ends cancels those that are not through, and waits for that. Any thread.
//
// The Vm, once: further calls are MVM_INVALID_ARGUMENT. Blocks until it is started. Errors: those
// of mvm_runtime_run() or mvm_runtime_run_checkpoint(), again for each call; MVM_CANCELLED: by
// mvm_vm_start_cancel(), the end of the Runtime or the limits; MVM_DEADLINE_EXCEEDED. After limits
// that fired the start goes on.
MVM_API mvm_status mvm_vm_start_take(mvm_vm_start* start, const mvm_limits* limits, mvm_vm** out,
                                     mvm_error** err);
// MVM_WOULD_BLOCK as long as it is under way.
MVM_API mvm_status mvm_vm_start_try_take(mvm_vm_start* start, mvm_vm** out, mvm_error** err);
// Readable for good once taking does not wait any more.
MVM_API mvm_status mvm_vm_start_fd(mvm_vm_start* start, int32_t* out, mvm_error** err);
// Ends the start, or the Vm if it is through and nobody has taken it: nothing of it stays. Waits
// for that only when the Runtime has ended; taking fails with MVM_CANCELLED at once. Does nothing
// after a failure, or when the Vm was taken.
MVM_API mvm_status mvm_vm_start_cancel(mvm_vm_start* start, mvm_error** err);
// Cancels it too.
MVM_API void mvm_vm_start_free(mvm_vm_start* start);

// --- Checkpoints --------------------------------------------------------------------------------

// Memory, disk and devices of a running Vm at one moment, kept until it is removed.
typedef struct mvm_checkpoint_info {
  uint32_t struct_size;
  uint32_t vcpus;
  const char* id;     // 12 hex digits
  const char* name;   // empty: none
  const char* vm_id;  // the Vm it was taken of, which need not exist any more
  const char* image;  // "name:version" that Vm runs from
  const char* created;
  uint64_t memory_bytes;
  uint64_t stored_bytes;  // on the disk, parts it shares with its Vm and others included
} mvm_checkpoint_info;
typedef struct mvm_checkpoint_list {
  size_t count;
  const mvm_checkpoint_info* const* items;
} mvm_checkpoint_list;

// Oldest first.
MVM_API mvm_status mvm_runtime_checkpoints(mvm_runtime* runtime, const mvm_limits* limits,
                                           mvm_checkpoint_list** out, mvm_error** err);
// A new Vm that goes on from a checkpoint, with an identity of its own; its run hook is called.
MVM_API mvm_status mvm_runtime_run_checkpoint(mvm_runtime* runtime, const char* id_or_name,
                                              const mvm_run_options* options,
                                              const mvm_limits* limits, mvm_vm** out,
                                              mvm_error** err);
// As mvm_runtime_start().
MVM_API mvm_status mvm_runtime_start_checkpoint(mvm_runtime* runtime, const char* id_or_name,
                                                const mvm_run_options* options, mvm_vm_start** out,
                                                mvm_error** err);
// Makes a checkpoint the next version of an image.
MVM_API mvm_status mvm_runtime_commit(mvm_runtime* runtime, const char* checkpoint,
                                      const char* image_name, const mvm_limits* limits,
                                      mvm_image_info** out_or_null, mvm_error** err);
// Vms that were started from it go on.
MVM_API mvm_status mvm_runtime_remove_checkpoint(mvm_runtime* runtime, const char* id_or_name,
                                                 const mvm_limits* limits, mvm_error** err);

// --- Pruning ------------------------------------------------------------------------------------

// By default only what nobody can use any more: the records and logs of Vms that outlived their
// owner and ended, what killed processes left half-written or half-removed, files of a Vm that its
// saved state does not name, base content without a name. What a Vm, a checkpoint or an image needs
// is never freed, whatever the options say, and neither is anything in use by any process.
typedef struct mvm_prune_options {
  uint32_t struct_size;
  mvm_bool dry_run;  // only look
  // Also image versions that are not the newest of their name and that no Vm and no checkpoint
  // needs.
  mvm_bool images;
  mvm_bool bases_and_kernels;  // also those that no image (left by then) was built with
} mvm_prune_options;

typedef int32_t mvm_pruned_kind;
enum {
  MVM_PRUNED_VM = 0,        // an ended one
  MVM_PRUNED_FILE = 1,      // of a Vm or a checkpoint; name: "<id>/<file>"
  MVM_PRUNED_LEFTOVER = 2,  // of a process that is gone
  MVM_PRUNED_IMAGE = 3,
  MVM_PRUNED_BASE = 4,
  MVM_PRUNED_KERNEL = 5,
};
MVM_API const char* mvm_pruned_kind_name(mvm_pruned_kind kind);  // of another number: "unknown"

typedef struct mvm_pruned_item {
  uint32_t struct_size;
  mvm_pruned_kind kind;
  const char* name;  // an id, a name, or "name:version"
  uint64_t bytes;    // given back to the disk; what others share with it is not counted
} mvm_pruned_item;

typedef struct mvm_prune_report {
  uint32_t struct_size;
  uint32_t reserved;
  size_t count;
  const mvm_pruned_item* const* items;  // freed; of a dry run: that would be
  uint64_t bytes;                       // of all of them
} mvm_prune_report;

// Safe beside other processes that use the directory. Handles of Vms that had ended say
// MVM_NOT_FOUND afterwards. What can not be freed now stays. Errors: MVM_IO; MVM_CORRUPT with
// bases_and_kernels, when an image can not be read; MVM_CANCELLED, MVM_DEADLINE_EXCEEDED: what was
// freed until then is, the rest is whole.
MVM_API mvm_status mvm_runtime_prune(mvm_runtime* runtime, const mvm_prune_options* options,
                                     const mvm_limits* limits, mvm_prune_report** out_or_null,
                                     mvm_error** err);

// --- Streams of events --------------------------------------------------------------------------

typedef struct mvm_event_options {
  uint32_t struct_size;
  mvm_bool follow;  // also what happens from now on
} mvm_event_options;

// What happened to the Vms of the data directory, by whatever process, oldest first: the last one
// to two megabytes of it are kept.
MVM_API mvm_status mvm_runtime_events(mvm_runtime* runtime, const mvm_event_options* options,
                                      const mvm_limits* limits, mvm_event_stream** out,
                                      mvm_error** err);
// The next one, to be released with mvm_free(); *out is NULL at the end of what is there, and
// always so without follow. With it the call waits until something happens. One that follows ends
// with its Runtime: it gives what is there, then MVM_CANCELLED. A stream holds no more than 48 KiB,
// however little it is read; who falls more than a megabyte behind misses events. One thread at a
// time. Errors: MVM_IO, MVM_PERMISSION_DENIED; MVM_CANCELLED and MVM_DEADLINE_EXCEEDED, which lose
// nothing.
MVM_API mvm_status mvm_event_stream_next(mvm_event_stream* stream, const mvm_limits* limits,
                                         mvm_vm_event** out, mvm_error** err);
MVM_API mvm_status mvm_event_stream_try_next(mvm_event_stream* stream, mvm_vm_event** out,
                                             mvm_error** err);
// Readable when the try has something.
MVM_API mvm_status mvm_event_stream_fd(mvm_event_stream* stream, int32_t* out, mvm_error** err);
MVM_API void mvm_event_stream_free(mvm_event_stream* stream);

// --- Vm -----------------------------------------------------------------------------------------

// One microVM. Any thread. A Vm that dies with its owner ends when its last handle and the Runtime
// are gone. Calls that need the guest resume a suspended Vm first.
//
// What happens at once to one Vm, from whatever handle, thread or process:
// - suspend, resume, fork, checkpoint, rollback, terminate and the policy's decisions change it one
//   after the other, in an order that nobody promises, and each finds what the one before has left:
//   a suspend after a suspend does nothing, or is MVM_BUSY as long as this process has not finished
//   the first; a resume after it wakes the Vm; fork and checkpoint wake it first; rollback takes it
//   as it is. After terminate all are MVM_VM_GONE, but terminate itself, which is done.
// - A call that uses the guest (exec, connect, files, …) goes on over fork and checkpoint. suspend,
//   rollback and terminate cut it short: its streams end, while programs of exec and on terminals
//   go on in the guest and can be attached to again (calls for files begin again, see there). One
//   that begins meanwhile waits for a resume or rollback, wakes what was suspended, is MVM_VM_GONE
//   after terminate.
// - A decision that a Vm is idle is dropped when somebody began to use it before its guest stopped.
// - When its worker dies the calls under way fail with MVM_VM_GONE or MVM_GUEST_FAILED. The Vm has
//   ended, or sleeps at its last saved state if it has one.
// - When its owner dies a Vm that dies with it ends, whatever is under way. Any other one goes on,
//   and a change that the owner had begun is done whole or not at all.
typedef struct mvm_exec mvm_exec;
typedef struct mvm_pty mvm_pty;
typedef struct mvm_watch mvm_watch;
typedef struct mvm_log_stream mvm_log_stream;
typedef struct mvm_flow_stream mvm_flow_stream;
typedef struct mvm_keep_awake mvm_keep_awake;

MVM_API void mvm_vm_free(mvm_vm* vm);
// Another handle of the same Vm, as if it were this one; to be freed on its own.
MVM_API mvm_status mvm_vm_copy(mvm_vm* vm, mvm_vm** out, mvm_error** err);
MVM_API mvm_status mvm_vm_id(mvm_vm* vm, char** out, mvm_error** err);
MVM_API mvm_status mvm_vm_get_info(mvm_vm* vm, mvm_vm_info** out, mvm_error** err);

// What a launch cost, from the call of run on.
typedef struct mvm_launch_times {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t worker_us;   // a worker was at hand (pooled) or started
  uint64_t restore_us;  // … the guest executed its first instruction
  uint64_t agent_us;    // … the agent connected
  uint64_t ready_us;    // … identity applied, user processes run; the run hook comes after it
} mvm_launch_times;
// Of the last start; zero for an attached Vm.
MVM_API mvm_status mvm_vm_launch_times(mvm_vm* vm, mvm_launch_times** out, mvm_error** err);

typedef struct mvm_vm_counters {
  uint32_t struct_size;
  mvm_bool paused;
  uint64_t exits;            // returns from KVM_RUN
  uint64_t start_to_run_ns;  // in the worker: request received → first KVM_RUN
  const mvm_network_counters* network;
} mvm_vm_counters;
// Gives up after 10 s.
MVM_API mvm_status mvm_vm_get_counters(mvm_vm* vm, const mvm_limits* limits, mvm_vm_counters** out,
                                       mvm_error** err);

// Wakes nothing. Gives up after 10 s.
MVM_API mvm_status mvm_vm_network(mvm_vm* vm, const mvm_limits* limits, mvm_network_info** out,
                                  mvm_error** err);
// From now on and for later resumes, in place of the one before: flows that it forbids have ended
// when this returns. Wakes nothing. NULL: the default. After an error of the network process
// (MVM_PROTOCOL, MVM_DEADLINE_EXCEEDED, MVM_BUSY) the policy is recorded, and holds from its next
// start at the latest. Errors: MVM_INVALID_ARGUMENT (a rule, with its place), MVM_UNSUPPORTED
// (another mode than user), MVM_VM_GONE.
MVM_API mvm_status mvm_vm_set_network_policy(mvm_vm* vm, const mvm_network_policy* policy,
                                             const mvm_limits* limits, mvm_error** err);
// The flows of a Vm from now on, over suspend and resume, until it ends. It wakes nothing. At most
// 8 follow one Vm. One that is not read holds some 200 KiB; who falls further behind misses
// records, and is told how many. MVM_UNSUPPORTED: another mode than user.
MVM_API mvm_status mvm_vm_flows(mvm_vm* vm, const mvm_limits* limits, mvm_flow_stream** out,
                                mvm_error** err);
// To be released with mvm_free(); *out is NULL when the Vm has ended. One thread at a time. Errors:
// MVM_BUSY (too many follow it), MVM_PROTOCOL; MVM_CANCELLED and MVM_DEADLINE_EXCEEDED, which lose
// nothing.
MVM_API mvm_status mvm_flow_stream_next(mvm_flow_stream* stream, const mvm_limits* limits,
                                        mvm_flow_record** out, mvm_error** err);
MVM_API mvm_status mvm_flow_stream_try_next(mvm_flow_stream* stream, mvm_flow_record** out,
                                            mvm_error** err);
// Readable when the try has something.
MVM_API mvm_status mvm_flow_stream_fd(mvm_flow_stream* stream, int32_t* out, mvm_error** err);
MVM_API void mvm_flow_stream_free(mvm_flow_stream* stream);

// A connected SOCK_STREAM socket to a TCP port on the guest's loopback, close-on-exec; the caller
// closes it. Errors: MVM_CONNECTION_REFUSED, MVM_VM_GONE, MVM_CANCELLED, MVM_DEADLINE_EXCEEDED.
MVM_API mvm_status mvm_vm_connect(mvm_vm* vm, uint32_t port, const mvm_limits* limits, int32_t* out,
                                  mvm_error** err);

// From now on the Vm is not idle for the policy of this handle, until what is given out is freed.
// The handle of an attach carries out no policy before it has resumed the Vm, so that this has no
// effect on the policy that runs elsewhere; the file /run/microvm/keep-awake in the guest has.
MVM_API mvm_status mvm_vm_keep_awake(mvm_vm* vm, mvm_keep_awake** out, mvm_error** err);
MVM_API void mvm_keep_awake_free(mvm_keep_awake* keep_awake);

// --- Vm: its life -------------------------------------------------------------------------------

typedef struct mvm_suspend_options {
  uint32_t struct_size;
  // False: the call returns when the state is on the disk and the worker's memory is free. True:
  // when the guest has stopped; the rest goes on in the background and the state is `suspending`.
  // What it did since it was last saved is then lost if its worker is killed before that is done.
  mvm_bool no_wait_durable;
} mvm_suspend_options;

// What a suspend cost, from its call.
typedef struct mvm_suspend_times {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t pause_us;         // in the worker: to stop the guest and take its state
  uint64_t acknowledged_us;  // … the suspend hook, the guest has stopped
  uint64_t durable_us;       // … it is committed to the disk and the worker is gone
  uint64_t changed_bytes;    // pages written since its worker started, its working set too
  uint64_t stored_bytes;     // on disk, compressed
} mvm_suspend_times;

// Stops the guest and keeps its state: what it changed, compressed. It costs nothing but that until
// it is resumed, by mvm_vm_resume() or by any call that needs the guest, here or in another process
// that opens the data directory (only here if it dies with its owner). Streams of the host
// (connect, pty, exec without `reattach`) end when the worker is gone, log streams go on; programs,
// also those of exec, and connections inside go on later as if nothing had been, with the right
// wall clock and a monotonic one that did not jump. A resume before the state is durable is served
// from memory; other processes wait until it is, as they do for every change of a Vm's state. A
// suspended Vm stays suspended (no error). A suspend hook is called first; how it ends does not
// matter. Errors: MVM_BUSY (this process is suspending it; too many calls wait), MVM_OUT_OF_DISK
// (the Vm runs on), MVM_VM_GONE, MVM_CANCELLED, MVM_DEADLINE_EXCEEDED.
MVM_API mvm_status mvm_vm_suspend(mvm_vm* vm, const mvm_suspend_options* options,
                                  const mvm_limits* limits, mvm_suspend_times** out_or_null,
                                  mvm_error** err);

typedef struct mvm_resume_options {
  uint32_t struct_size;
  uint32_t reserved;
  // From now on, in place of the recorded one: it is recorded, also when the resume fails, and
  // carried out by this Runtime, also when the guest runs already. NULL: the recorded one.
  const mvm_idle_policy* idle;
} mvm_resume_options;

// Returns when the guest's programs run and the resume hook, if there is one, is through; at once
// when they do. Many callers share one resume; calls of this process that need the guest wait for
// it, up to max_waiting_calls. Errors: MVM_CORRUPT (naming the file), MVM_OUT_OF_DISK, MVM_BUSY (it
// dies with another process, or too many wait), MVM_VM_GONE; MVM_CANCELLED, MVM_DEADLINE_EXCEEDED,
// also while a suspension that this process has begun is being written: it is then carried out, or
// given up with the guest running. After a failure the saved state is as it was.
MVM_API mvm_status mvm_vm_resume(mvm_vm* vm, const mvm_resume_options* options,
                                 const mvm_limits* limits, mvm_error** err);

typedef struct mvm_fork_options {
  uint32_t struct_size;
  uint32_t count;                // 0: 1; at most 1,000
  const char* name;              // of the fork; of several: the beginning, "-1", "-2" … are added
  int64_t start_timeout_ms;      // for each, until its agent is ready; 0: 60,000
  const mvm_idle_policy* idle;   // NULL: never idle
  const char* run_hook_payload;  // the same for each; as in mvm_run_options
  mvm_bool outlives_owner;       // as in mvm_run_options
  uint32_t reserved;
  // NULL: mode and policy of the source. A tap is one Vm's: of a source with one say what each
  // gets, and with a tap fork one at a time.
  const mvm_network_options* network;
} mvm_fork_options;

// Handles of new Vms: mvm_free() releases the list, mvm_vm_free() each of them.
typedef struct mvm_fork_list {
  size_t count;
  mvm_vm* const* items;
} mvm_fork_list;

// `count` new Vms that go on from where this one is now, sharing its memory and disk until they
// write, each with its own hostname, machine-id, boot_id and random numbers before its programs go
// on. This one is paused for the copy of what it changed. All of them or none: also when a run hook
// fails.
MVM_API mvm_status mvm_vm_fork(mvm_vm* vm, const mvm_fork_options* options,
                               const mvm_limits* limits, mvm_fork_list** out, mvm_error** err);

typedef struct mvm_checkpoint_options {
  uint32_t struct_size;
  uint32_t reserved;
  const char* name;  // empty: none; unique in the Runtime, usable instead of the id
} mvm_checkpoint_options;

// Keeps its present state, which goes on unchanged when the Vm does; it is paused only while its
// changed pages are copied. Returns when the checkpoint is on the disk. Errors: MVM_ALREADY_EXISTS,
// MVM_INVALID_ARGUMENT (the name), MVM_OUT_OF_DISK, MVM_DEADLINE_EXCEEDED (its programs do not
// stop), MVM_VM_GONE, …
MVM_API mvm_status mvm_vm_checkpoint(mvm_vm* vm, const mvm_checkpoint_options* options,
                                     const mvm_limits* limits, mvm_checkpoint_info** out_or_null,
                                     mvm_error** err);
// Back to a checkpoint of this Vm: same id, identity and name; what it did since is lost. Streams
// of the host end. Errors: MVM_NOT_FOUND, MVM_INVALID_ARGUMENT (of another Vm), MVM_CORRUPT (then
// it goes on as it was), …
MVM_API mvm_status mvm_vm_rollback(mvm_vm* vm, const char* checkpoint, const mvm_limits* limits,
                                   mvm_error** err);

// Ends it at once, or when its terminate hook is through; idempotent. Everything it left on the
// host is removed; of a Vm that may outlive its owner, record and logs stay until
// mvm_runtime_remove_vm(). It waits for a change under way for a minute, and what its hooks may
// take, then ends the Vm all the same; and for its own hook. The limits cut both short: before the
// end has begun the call fails and nothing has happened; a terminate hook that is being asked is
// given up and the Vm ends.
MVM_API mvm_status mvm_vm_terminate(mvm_vm* vm, const mvm_limits* limits, mvm_error** err);
// Blocks until it has ended by itself or by mvm_vm_terminate().
MVM_API mvm_status mvm_vm_wait(mvm_vm* vm, const mvm_limits* limits, mvm_vm_ending** out_or_null,
                               mvm_error** err);
// MVM_WOULD_BLOCK while it has not ended.
MVM_API mvm_status mvm_vm_try_wait(mvm_vm* vm, mvm_vm_ending** out_or_null, mvm_error** err);
// Readable for good once the Vm has ended, half a second later where another process ended it while
// it slept, and not after the Runtime has gone. Always the same one. It lives as long as this
// handle or a copy of it. Error: MVM_IO.
MVM_API mvm_status mvm_vm_end_fd(mvm_vm* vm, int32_t* out, mvm_error** err);

// --- Vm: its logs -------------------------------------------------------------------------------

typedef int32_t mvm_log_source;
enum {
  MVM_LOG_APP = 0,
  MVM_LOG_KERNEL = 1,
};

// The last bytes kept of a log, at most 256 KiB; of one that sleeps or has ended too, and never
// wakes it. Of one whose worker was killed all but the last moment (200 ms, more when the host's
// disk is slow or full). Gives up after 10 s. Errors: MVM_IO (nothing was kept),
// MVM_DEADLINE_EXCEEDED, MVM_CANCELLED.
MVM_API mvm_status mvm_vm_logs(mvm_vm* vm, mvm_log_source source, const mvm_limits* limits,
                               mvm_bytes** out, mvm_error** err);
// What is kept of a log and what comes, each byte once and in order, until the Vm ends: over
// suspend, resume and rollback too, whoever asks for them. It wakes nothing, and holds the Vm as a
// copy of its handle does. Several streams may follow the same log.
//
// Flow control: a stream that is not read holds 64 KiB and no more, and behind it the worker keeps
// the last 256 KiB of the log. One that falls further behind misses what is not kept any more, and
// goes on with the oldest byte that is. Of a guest that an older version of the library had started
// what was printed around a suspend may come twice or not at all.
MVM_API mvm_status mvm_vm_follow_logs(mvm_vm* vm, mvm_log_source source, const mvm_limits* limits,
                                      mvm_log_stream** out, mvm_error** err);
// The next piece, at most 256 KiB, bytes as the guest printed them, to be released with mvm_free();
// *out is NULL when the Vm has ended and all was read. One thread at a time. Errors: MVM_IO (a Vm
// has ended and nothing was kept), MVM_BUSY (as many follow this log as its worker feeds, 32: read
// again later), MVM_PROTOCOL; MVM_CANCELLED and MVM_DEADLINE_EXCEEDED, which lose nothing.
MVM_API mvm_status mvm_log_stream_read(mvm_log_stream* stream, const mvm_limits* limits,
                                       mvm_bytes** out, mvm_error** err);
// The same without waiting, but for a worker on its way out (a second at most) when the Runtime
// has ended, whose threads look for where a log goes on.
MVM_API mvm_status mvm_log_stream_try_read(mvm_log_stream* stream, mvm_bytes** out,
                                           mvm_error** err);
// Readable when the try has something.
MVM_API mvm_status mvm_log_stream_fd(mvm_log_stream* stream, int32_t* out, mvm_error** err);
MVM_API void mvm_log_stream_free(mvm_log_stream* stream);

// --- Programs -----------------------------------------------------------------------------------

typedef struct mvm_exec_options {
  uint32_t struct_size;
  uint32_t timeout_ms;      // 0: none; then the whole process group is killed
  const char* const* argv;  // argv[0] is looked up in the PATH of the environment
  size_t argv_count;
  // "NAME=value", added to (and winning over) the image's; "NAME": without it. The last of a name
  // counts.
  const char* const* env;
  size_t env_count;
  const char* cwd;      // empty: the image's WORKDIR
  const char* user;     // "name", "uid", "name:group", "uid:gid"; empty: the image's USER
  const char* id;       // at most 63 letters, digits, ".", "_", "-"; empty: a new number
  mvm_bool stdin_open;  // false: stdin is /dev/null
  // Freeing the handle leaves the program running, and it is never slowed for want of a reader.
  mvm_bool detached;
  // The handle attaches again by itself where its Vm was suspended under it; see mvm_exec.
  mvm_bool reattach;
  uint32_t reserved;
} mvm_exec_options;

typedef struct mvm_exec_attach_options {
  uint32_t struct_size;
  mvm_bool read_only;  // false: it writes stdin, one client at a time
  mvm_bool take_over;  // from the client that writes now, which then only reads
  mvm_bool reattach;   // as in mvm_exec_options
  // mvm_exec_position() of an earlier handle: the output from there on, and not again what it has
  // read. Without: what is kept of it, then what comes.
  uint64_t position;
  mvm_bool has_position;
  uint32_t reserved;
} mvm_exec_attach_options;

typedef struct mvm_exit_status {
  uint32_t struct_size;
  int32_t code;         // exit code; 127 not found, 126 not executable, as a shell says
  int32_t signal;       // the signal that ended it, or 0
  mvm_bool timed_out;   // its timeout_ms passed
  const char* message;  // why the program could not be started, else empty
} mvm_exit_status;

typedef struct mvm_exec_info {
  uint32_t struct_size;
  uint32_t pid;  // in the guest; 0 when it has ended
  const char* id;
  const char* command;           // the program and its arguments, at most 255 bytes
  uint32_t clients;              // attached, or waiting for its end
  mvm_bool written;              // one of them writes its stdin
  uint64_t output_bytes;         // since its start, both streams
  const mvm_exit_status* ended;  // until someone learnt it, for the last 256 that ended; else NULL
  mvm_bool detached;
  uint32_t reserved;
} mvm_exec_info;
typedef struct mvm_exec_list {
  size_t count;
  const mvm_exec_info* const* items;
} mvm_exec_list;

typedef int32_t mvm_exec_stream;
enum {
  MVM_EXEC_STDOUT = 0,
  MVM_EXEC_STDERR = 1,
};
typedef struct mvm_exec_output {
  uint32_t struct_size;
  mvm_exec_stream stream;
  const uint8_t* data;
  size_t size;
  // Output, of both streams, that this handle has missed just before `data`: it was gone for too
  // long. Only where it attached.
  uint64_t lost_bytes;
} mvm_exec_output;

// A handle of one client of a program. One thread reads (read, try_read, wait, try_wait), another
// may write stdin; every other function from any thread.
//
// The program belongs to the Vm: it goes on over suspend and resume, fork (there a copy of it, with
// nobody attached), checkpoint and rollback, and when the process with the handle dies; then
// mvm_vm_attach_exec() comes back to it. Freeing the handle of mvm_vm_exec() before the end kills
// the program, unless it is detached or its Vm was suspended or rolled back since the handle last
// reached it; freeing one of mvm_vm_attach_exec() only detaches. It waits for a guest that is stuck
// for 1 s at most.
//
// Output: the guest keeps the last 256 KiB of both streams together (of the first 32 programs that
// run at a time; 64 KiB of those up to the 128th, 16 KiB of the others). The program waits for
// clients that are behind. When its last client is lost (not detached) it waits for 10 s for one
// that attaches again, but only once it has put out more than is kept; then it goes on and the
// oldest output is lost. stdin stays open until somebody who writes closes it.
//
// Where the Vm is suspended or rolled back under the handle, by whomever, calls fail with
// MVM_VM_SUSPENDED; mvm_vm_attach_exec() with the position goes on. With `reattach` the call does
// so itself: it resumes the Vm, or waits for its resume, as any call that needs the guest (MVM_BUSY
// where the policy does not let it), and goes on at the byte where it was, also in stdin. Where
// that can not be, because of a rollback or because another client has written meanwhile, it fails
// with MVM_INVALID_ARGUMENT or MVM_BUSY; what was lost of the output is told in lost_bytes. It
// needs a handle of its Vm to be there still.

// Starts a program; `options` may not be NULL. At most 1,024 run at a time in one Vm. One that
// could not be started is a handle whose wait says why. Arguments and environment: as Linux takes
// them, 2 MiB together and 128 KiB each (256 KiB of each list with an image of an older version).
// Errors: MVM_ALREADY_EXISTS (the id), MVM_BUSY (too many), MVM_UNSUPPORTED (an image of an older
// version: id, detached, long lists), MVM_VM_GONE, MVM_CANCELLED, MVM_DEADLINE_EXCEEDED. Where the
// Vm was suspended under the call, the program may have been started in spite of MVM_BUSY,
// MVM_CANCELLED and MVM_DEADLINE_EXCEEDED: mvm_vm_execs() tells.
MVM_API mvm_status mvm_vm_exec(mvm_vm* vm, const mvm_exec_options* options,
                               const mvm_limits* limits, mvm_exec** out, mvm_error** err);
// Another handle of a program, at most 16 at a time; of one that has ended since, too: the rest of
// its output and its exit status. Errors: MVM_NOT_FOUND, MVM_BUSY (another client writes; or too
// many), MVM_INVALID_ARGUMENT (a position that its output has not come to: it was rolled back),
// MVM_UNSUPPORTED, MVM_VM_GONE, MVM_CANCELLED, MVM_DEADLINE_EXCEEDED.
MVM_API mvm_status mvm_vm_attach_exec(mvm_vm* vm, const char* id,
                                      const mvm_exec_attach_options* options,
                                      const mvm_limits* limits, mvm_exec** out, mvm_error** err);
// The oldest first.
MVM_API mvm_status mvm_vm_execs(mvm_vm* vm, const mvm_limits* limits, mvm_exec_list** out,
                                mvm_error** err);
// To its process group; where the Vm was suspended under the call it may come twice, or be answered
// by the end it brought. Errors: MVM_NOT_FOUND, MVM_BUSY (it has ended), MVM_INVALID_ARGUMENT (no
// such signal).
MVM_API mvm_status mvm_vm_signal_exec(mvm_vm* vm, const char* id, int32_t signal,
                                      const mvm_limits* limits, mvm_error** err);
// Until it has ended; from then on it is not known any more. Reads none of its output, so others
// may have to. Errors: MVM_NOT_FOUND, MVM_VM_SUSPENDED, …
MVM_API mvm_status mvm_vm_wait_exec(mvm_vm* vm, const char* id, const mvm_limits* limits,
                                    mvm_exit_status** out_or_null, mvm_error** err);

typedef struct mvm_collect_options {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t max_bytes;  // of each stream; what is more is read and dropped; 0: 1 MiB
  // What the program reads from stdin, then the end; it is written as the program reads it, while
  // its output is taken. What it does not read is dropped. Empty: stdin is as mvm_exec_options
  // says.
  const void* input;
  size_t input_size;
} mvm_collect_options;

typedef struct mvm_exec_result {
  uint32_t struct_size;
  uint32_t reserved;
  const mvm_exit_status* status;  // never NULL
  mvm_bytes out;
  mvm_bytes err;
} mvm_exec_result;

// Runs to the end and collects what it puts out. Cut short by the limits it is killed. `options`
// may not be NULL.
MVM_API mvm_status mvm_vm_exec_collect(mvm_vm* vm, const mvm_exec_options* options,
                                       const mvm_collect_options* collect, const mvm_limits* limits,
                                       mvm_exec_result** out, mvm_error** err);

// The next piece of output, as soon as there is one, to be released with mvm_free(); *out is NULL
// when the program has ended and all its output was read. The guest is slowed down when nobody
// reads (flow control). Errors: MVM_VM_SUSPENDED, MVM_VM_GONE, MVM_CANCELLED,
// MVM_DEADLINE_EXCEEDED.
MVM_API mvm_status mvm_exec_read(mvm_exec* exec, const mvm_limits* limits, mvm_exec_output** out,
                                 mvm_error** err);
MVM_API mvm_status mvm_exec_try_read(mvm_exec* exec, mvm_exec_output** out, mvm_error** err);
// Blocks while the program does not read. Errors: as read, and MVM_BUSY when this handle does not
// (any more) write; after MVM_CANCELLED and MVM_DEADLINE_EXCEEDED a part of the data may be on its
// way.
MVM_API mvm_status mvm_exec_write_stdin(mvm_exec* exec, const void* data, size_t size,
                                        const mvm_limits* limits, mvm_error** err);
// *out becomes how much of the data was taken, from its beginning: 1 byte at least, and that is on
// its way (0 of no data). MVM_WOULD_BLOCK: nothing; the fd becomes writable (POLLOUT) when there
// may be room.
MVM_API mvm_status mvm_exec_try_write_stdin(mvm_exec* exec, const void* data, size_t size,
                                            size_t* out, mvm_error** err);
// The program reads what was written, then the end. Blocks and fails as a write; may be repeated,
// the program meets one end.
MVM_API mvm_status mvm_exec_close_stdin(mvm_exec* exec, const mvm_limits* limits, mvm_error** err);
MVM_API mvm_status mvm_exec_try_close_stdin(mvm_exec* exec, mvm_error** err);
// To the program's process group, after it was handed what was written to stdin before; one that is
// under way when the Vm is suspended may be lost. Errors: MVM_INVALID_ARGUMENT (no such signal),
// MVM_VM_SUSPENDED, MVM_VM_GONE, MVM_CANCELLED, MVM_DEADLINE_EXCEEDED (10 s at most).
MVM_API mvm_status mvm_exec_signal(mvm_exec* exec, int32_t signal, const mvm_limits* limits,
                                   mvm_error** err);
// Leaves the program running; further calls fail with MVM_BUSY. What it has not read within a
// second of what was written may be lost, and so the end of stdin. Error: MVM_UNSUPPORTED (an image
// of a version whose programs can not be left: rebuild it).
MVM_API mvm_status mvm_exec_detach(mvm_exec* exec, const mvm_limits* limits, mvm_error** err);
// Discards output that was not read and waits for the end.
MVM_API mvm_status mvm_exec_wait(mvm_exec* exec, const mvm_limits* limits,
                                 mvm_exit_status** out_or_null, mvm_error** err);
// Discards output as the wait does; MVM_WOULD_BLOCK until the end has come.
MVM_API mvm_status mvm_exec_try_wait(mvm_exec* exec, mvm_exit_status** out_or_null,
                                     mvm_error** err);
// Empty with an image of an older version, whose programs end with their handle.
MVM_API mvm_status mvm_exec_id(mvm_exec* exec, char** out, mvm_error** err);
// In the guest; 0 when it did not start, or had ended when this handle attached.
MVM_API mvm_status mvm_exec_pid(mvm_exec* exec, uint32_t* out, mvm_error** err);
// Of the next byte that is read, in both streams together, lost ones included.
MVM_API mvm_status mvm_exec_position(mvm_exec* exec, uint64_t* out, mvm_error** err);
// Whether it writes stdin; false as soon as a read met a take-over.
MVM_API mvm_status mvm_exec_writer(mvm_exec* exec, mvm_bool* out, mvm_error** err);
// Readable when try_read and try_wait have something, writable when the tries of stdin have room.
// With `reattach` the number stays the same over all attaching again and what it stands for does
// not: an epoll has to be given it again before each wait.
MVM_API mvm_status mvm_exec_fd(mvm_exec* exec, int32_t* out, mvm_error** err);
MVM_API void mvm_exec_free(mvm_exec* exec);

// --- Terminals ----------------------------------------------------------------------------------

typedef int32_t mvm_pty_writing;
enum {
  MVM_PTY_EXCLUSIVE = 0,  // one client writes at a time
  MVM_PTY_SHARED = 1,     // all that attached to write may
};

typedef struct mvm_pty_options {
  uint32_t struct_size;
  mvm_pty_writing writing;
  const char* const* argv;  // as in mvm_exec_options; empty: the user's login shell, else /bin/sh
  size_t argv_count;
  const char* const* env;  // as in mvm_exec_options
  size_t env_count;
  const char* cwd;   // as in mvm_exec_options
  const char* user;  // as in mvm_exec_options
  const char* term;  // the variable TERM; empty: "xterm-256color"
  const char* id;    // as in mvm_exec_options
  uint32_t rows;     // to 65535; 0: 24
  uint32_t columns;  // to 65535; 0: 80
} mvm_pty_options;

typedef struct mvm_pty_attach_options {
  uint32_t struct_size;
  mvm_bool read_only;  // false: it writes
  mvm_bool take_over;  // from the client that writes now, which then only watches
  mvm_bool has_position;
  // mvm_pty_position() of an earlier handle: the output from there on, and not again what it has
  // read. Without: up to 256 KiB of recent output, then what comes.
  uint64_t position;
  uint32_t rows;  // the terminal's new size, only where it writes; both 0: as it is
  uint32_t columns;
} mvm_pty_attach_options;

typedef struct mvm_pty_info {
  uint32_t struct_size;
  uint32_t pid;  // in the guest; 0 when it has ended
  const char* id;
  const char* command;  // the program and its arguments, at most 255 bytes
  uint32_t rows;
  uint32_t columns;
  uint32_t clients;
  uint32_t writers;
  const mvm_exit_status* ended;  // until someone learnt it, for the last 32 that ended; else NULL
  mvm_pty_writing writing;
  uint32_t reserved;
} mvm_pty_info;
typedef struct mvm_pty_list {
  size_t count;
  const mvm_pty_info* const* items;
} mvm_pty_list;

typedef struct mvm_pty_output {
  uint32_t struct_size;
  uint32_t reserved;
  const uint8_t* data;  // bytes as the program put them out; characters may be split
  size_t size;
  // Output that this handle has missed just before `data`: it had not read for so long that the
  // terminal went on without it. See mvm_pty_read().
  uint64_t lost_bytes;
} mvm_pty_output;

// A handle of one client of a program on a pseudo terminal. The session belongs to the Vm: freeing
// the handle, or losing its connection to a suspend, only detaches, and mvm_vm_attach_pty() comes
// back to the running program and to the recent output of its screen. One thread reads (read,
// try_read, wait, try_wait), another may write; every other function from any thread.

// A program on a pseudo terminal; the handle writes. At most 32 at a time in one Vm. A program that
// could not be started is a handle whose wait says why. Errors: MVM_ALREADY_EXISTS (the id),
// MVM_BUSY (too many), MVM_VM_GONE, MVM_CANCELLED, MVM_DEADLINE_EXCEEDED.
MVM_API mvm_status mvm_vm_pty(mvm_vm* vm, const mvm_pty_options* options, const mvm_limits* limits,
                              mvm_pty** out, mvm_error** err);
// Another handle of a running terminal, at most 8 at a time; of one that has ended since, too: the
// end of its output and its exit status. Errors: MVM_NOT_FOUND, MVM_BUSY (another client writes; or
// too many), MVM_VM_GONE, MVM_CANCELLED, MVM_DEADLINE_EXCEEDED.
MVM_API mvm_status mvm_vm_attach_pty(mvm_vm* vm, const char* id,
                                     const mvm_pty_attach_options* options,
                                     const mvm_limits* limits, mvm_pty** out, mvm_error** err);
// The oldest first.
MVM_API mvm_status mvm_vm_ptys(mvm_vm* vm, const mvm_limits* limits, mvm_pty_list** out,
                               mvm_error** err);
// Hangs up: SIGHUP, after 5 s SIGKILL; returns when the program has ended. Error: MVM_NOT_FOUND.
MVM_API mvm_status mvm_vm_close_pty(mvm_vm* vm, const char* id, const mvm_limits* limits,
                                    mvm_error** err);

// The next piece of output, to be released with mvm_free(); *out is NULL when the program has ended
// and all its output was read. Flow control: the program waits for a handle that is 128 KiB behind
// (and what the streams between hold), but for 2 s at most. After that the handle loses what it is
// too slow for and reads of that in lost_bytes; the program and the other handles never wait for it
// again until it has caught up. Errors: MVM_VM_SUSPENDED when the Vm was suspended or rolled back
// under the handle, by whomever (mvm_vm_attach_pty() with the position goes on), MVM_VM_GONE,
// MVM_CANCELLED, MVM_DEADLINE_EXCEEDED.
MVM_API mvm_status mvm_pty_read(mvm_pty* pty, const mvm_limits* limits, mvm_pty_output** out,
                                mvm_error** err);
MVM_API mvm_status mvm_pty_try_read(mvm_pty* pty, mvm_pty_output** out, mvm_error** err);
// Keys, as a terminal sends them: "\r" is Enter, "\x03" Ctrl-C. Blocks while the program does not
// read. Errors: as a read, and MVM_BUSY when this handle does not (any more) write.
MVM_API mvm_status mvm_pty_write(mvm_pty* pty, const void* data, size_t size,
                                 const mvm_limits* limits, mvm_error** err);
// As mvm_exec_try_write_stdin().
MVM_API mvm_status mvm_pty_try_write(mvm_pty* pty, const void* data, size_t size, size_t* out,
                                     mvm_error** err);
// In characters, each 1 to 65535. Only a writer's counts; the program gets SIGWINCH. Error:
// MVM_BUSY, as a write.
MVM_API mvm_status mvm_pty_resize(mvm_pty* pty, uint32_t rows, uint32_t columns,
                                  const mvm_limits* limits, mvm_error** err);
// To the foreground process group of the terminal. Errors: MVM_INVALID_ARGUMENT (no such signal);
// MVM_BUSY, as a write.
MVM_API mvm_status mvm_pty_signal(mvm_pty* pty, int32_t signal, const mvm_limits* limits,
                                  mvm_error** err);
// Closes this client's connection; further calls fail. The program goes on.
MVM_API mvm_status mvm_pty_detach(mvm_pty* pty, mvm_error** err);
// Discards output that was not read and waits for the program's end.
MVM_API mvm_status mvm_pty_wait(mvm_pty* pty, const mvm_limits* limits,
                                mvm_exit_status** out_or_null, mvm_error** err);
// Discards output as the wait does; MVM_WOULD_BLOCK until the end has come.
MVM_API mvm_status mvm_pty_try_wait(mvm_pty* pty, mvm_exit_status** out_or_null, mvm_error** err);
MVM_API mvm_status mvm_pty_id(mvm_pty* pty, char** out, mvm_error** err);
// In the guest; 0 when it did not start or has ended.
MVM_API mvm_status mvm_pty_pid(mvm_pty* pty, uint32_t* out, mvm_error** err);
MVM_API mvm_status mvm_pty_writer(mvm_pty* pty, mvm_bool* out, mvm_error** err);
MVM_API mvm_status mvm_pty_position(mvm_pty* pty, uint64_t* out, mvm_error** err);
// Readable when try_read and try_wait have something, writable when try_write has room.
MVM_API mvm_status mvm_pty_fd(mvm_pty* pty, int32_t* out, mvm_error** err);
MVM_API void mvm_pty_free(mvm_pty* pty);

// --- Files of the guest -------------------------------------------------------------------------

// Guest paths are absolute and are resolved inside the guest, by its own rules: links on the way
// are followed and never lead out of it. Calls act as the guest's root. Names are bytes; they are
// what the guest says, so escape them before showing them.
//
// Errors of all of them: MVM_NOT_FOUND, MVM_PERMISSION_DENIED, MVM_INVALID_ARGUMENT (also: a
// directory where a file is needed and the other way round), MVM_IO; MVM_VM_GONE, MVM_CANCELLED,
// MVM_DEADLINE_EXCEEDED (also: a guest that is silent for two minutes). A call whose Vm is
// suspended or rolled back under it wakes the Vm and begins again; a change that was done by then
// is not done twice (the guest remembers its last 64). MVM_VM_SUSPENDED: where that can not be, as
// the caller's sink or source has had a part already, or the image is of a version that remembers
// nothing.

typedef int32_t mvm_file_type;
enum {
  MVM_FILE_REGULAR = 0,
  MVM_FILE_DIRECTORY = 1,
  MVM_FILE_SYMLINK = 2,
  MVM_FILE_FIFO = 3,
  MVM_FILE_SOCKET = 4,
  MVM_FILE_CHARACTER_DEVICE = 5,
  MVM_FILE_BLOCK_DEVICE = 6,
};

typedef struct mvm_file_info {
  uint32_t struct_size;
  mvm_file_type type;
  const char* name;  // in its directory; of mvm_vm_stat_file(): the path as given
  uint32_t mode;     // permissions, set-id bits, sticky bit: 07777
  uint32_t uid;
  uint32_t gid;
  uint32_t reserved;
  uint64_t size_bytes;
  int64_t mtime_ns;         // since 1970, UTC
  const char* link_target;  // of a symlink
} mvm_file_info;
typedef struct mvm_file_list {
  size_t count;
  const mvm_file_info* const* items;
} mvm_file_list;

typedef struct mvm_read_file_options {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t offset;
  uint64_t length;     // at most; 0: to the end
  uint64_t max_bytes;  // more than that is an error, and not a cut; 0: 64 MiB
} mvm_read_file_options;

MVM_API mvm_status mvm_vm_read_file(mvm_vm* vm, const char* path,
                                    const mvm_read_file_options* options, const mvm_limits* limits,
                                    mvm_bytes** out, mvm_error** err);
MVM_API mvm_status mvm_vm_read_file_to(mvm_vm* vm, const char* path, mvm_data_sink sink, void* user,
                                       const mvm_read_file_options* options,
                                       const mvm_limits* limits, mvm_file_info** out_or_null,
                                       mvm_error** err);

typedef struct mvm_write_file_options {
  uint32_t struct_size;
  mvm_bool has_mode;    // false: mode as it is, or 0644 for a new one
  uint32_t mode;        // to 07777
  mvm_bool no_replace;  // MVM_ALREADY_EXISTS when there is one
  const char* owner;    // "name", "uid", "name:group" or "uid:gid" of the guest; empty: as it is,
                        // or root for a new one
} mvm_write_file_options;

// The whole content, in one step: programs see the old or the new file, and after an error the old
// one. A link at the end is followed; other names of the file (hard links) keep the old content.
// Errors: MVM_ALREADY_EXISTS, MVM_OUT_OF_DISK.
MVM_API mvm_status mvm_vm_write_file(mvm_vm* vm, const char* path, const void* content, size_t size,
                                     const mvm_write_file_options* options,
                                     const mvm_limits* limits, mvm_error** err);
MVM_API mvm_status mvm_vm_write_file_from(mvm_vm* vm, const char* path, mvm_data_source source,
                                          void* user, const mvm_write_file_options* options,
                                          const mvm_limits* limits, mvm_error** err);
// At the end of the file, which is made when there is none; mode and owner count for a new one
// only. What was written before an error stays.
MVM_API mvm_status mvm_vm_append_file(mvm_vm* vm, const char* path, const void* content,
                                      size_t size, const mvm_write_file_options* options,
                                      const mvm_limits* limits, mvm_error** err);

typedef struct mvm_stat_file_options {
  uint32_t struct_size;
  mvm_bool no_follow_link;  // false: of a link at the end of the path what it leads to
} mvm_stat_file_options;
MVM_API mvm_status mvm_vm_stat_file(mvm_vm* vm, const char* path,
                                    const mvm_stat_file_options* options, const mvm_limits* limits,
                                    mvm_file_info** out, mvm_error** err);

typedef struct mvm_list_files_options {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t max_entries;  // more are an error, and not a cut; 0: 100,000
} mvm_list_files_options;
// Sorted by name, without "." and "..".
MVM_API mvm_status mvm_vm_list_files(mvm_vm* vm, const char* path,
                                     const mvm_list_files_options* options,
                                     const mvm_limits* limits, mvm_file_list** out,
                                     mvm_error** err);

typedef struct mvm_make_directory_options {
  uint32_t struct_size;
  mvm_bool has_mode;  // false: 0755
  uint32_t mode;      // to 07777
  mvm_bool parents;   // missing ones too (0755, root), and one that exists is no error
  const char* owner;  // as in mvm_write_file_options; empty: root
} mvm_make_directory_options;
// Error: MVM_ALREADY_EXISTS.
MVM_API mvm_status mvm_vm_make_directory(mvm_vm* vm, const char* path,
                                         const mvm_make_directory_options* options,
                                         const mvm_limits* limits, mvm_error** err);

typedef struct mvm_remove_file_options {
  uint32_t struct_size;
  mvm_bool recursive;  // false: a directory must be empty
} mvm_remove_file_options;
// A link itself, never what it leads to.
MVM_API mvm_status mvm_vm_remove_file(mvm_vm* vm, const char* path,
                                      const mvm_remove_file_options* options,
                                      const mvm_limits* limits, mvm_error** err);

typedef struct mvm_rename_file_options {
  uint32_t struct_size;
  mvm_bool no_replace;  // MVM_ALREADY_EXISTS when there is something at the new path
} mvm_rename_file_options;
MVM_API mvm_status mvm_vm_rename_file(mvm_vm* vm, const char* path, const char* new_path,
                                      const mvm_rename_file_options* options,
                                      const mvm_limits* limits, mvm_error** err);

// --- Trees of files -----------------------------------------------------------------------------

// Bounds of one download: the guest decides what comes.
typedef struct mvm_download_options {
  uint32_t struct_size;
  mvm_bool follow_link;  // when the path is a link: what it leads to
  const char* name;      // of the top in the result; empty: its own; ".": only what is in it
  // When there is a link at the place of the top: what it leads to is written, and made where it is
  // not there, as docker cp does. Links below the top are never followed. Not into a tar, not with
  // the name ".".
  mvm_bool follow_target;
  mvm_bool keep_owner;   // into a directory: owners by number, as far as this process may
  uint64_t max_entries;  // 0: 200,000
  uint64_t max_bytes;    // of all files together; 0: 16 GiB
} mvm_download_options;

typedef struct mvm_upload_options {
  uint32_t struct_size;
  mvm_bool follow_link;  // as in mvm_download_options; not with a tar
  const char* name;      // as in mvm_download_options; not with a tar
  // As in mvm_download_options, by the guest's links and inside its root; not with a tar. An image
  // of a version that does not know it replaces the link.
  mvm_bool follow_target;
  mvm_bool keep_owner;  // owners as they are here or in the tar; false: uid and gid
  uint32_t uid;
  uint32_t gid;
  uint64_t max_entries;  // 0: 200,000
} mvm_upload_options;

typedef struct mvm_transfer_totals {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t entries;  // files, directories and links
  uint64_t bytes;    // of the files
  uint64_t skipped;  // devices, fifos and sockets, which are not carried
} mvm_transfer_totals;

// A file, or a directory with everything below it on the same file system, into a directory of the
// host that is there. Nothing is written outside of it, whatever the guest says; links are made and
// never followed; permissions and times are kept, set-id bits are not. What is in the way of a file
// or link is replaced, directories are merged. Holes stay holes, and hard links within the tree
// names of one file. Files that say no size (/proc, /sys) are read to their end, of 16 MiB at most.
// What came before an error stays. Errors: those of both file systems; MVM_BUSY when a file changes
// under the copy; MVM_INVALID_ARGUMENT when the path is of a device, fifo or socket.
MVM_API mvm_status mvm_vm_download(mvm_vm* vm, const char* path, const char* directory,
                                   const mvm_download_options* options, const mvm_limits* limits,
                                   mvm_transfer_totals** out_or_null, mvm_error** err);
// The same as a tar (pax), everything kept; keep_owner does not matter.
MVM_API mvm_status mvm_vm_download_tar(mvm_vm* vm, const char* path, mvm_data_sink tar, void* user,
                                       const mvm_download_options* options,
                                       const mvm_limits* limits, mvm_transfer_totals** out_or_null,
                                       mvm_error** err);
// A file or directory of the host into a directory of the guest, which is made (0755, root) when
// there is none. Directories that are there keep mode and owner, files and links are replaced, each
// in one step. `directory` has no ".." in it. Holes, hard links, sizes and errors as with a
// download.
MVM_API mvm_status mvm_vm_upload(mvm_vm* vm, const char* path, const char* directory,
                                 const mvm_upload_options* options, const mvm_limits* limits,
                                 mvm_transfer_totals** out_or_null, mvm_error** err);
// From a tar, compressed or not. Error: MVM_CORRUPT.
MVM_API mvm_status mvm_vm_upload_tar(mvm_vm* vm, mvm_data_source tar, void* user,
                                     const char* directory, const mvm_upload_options* options,
                                     const mvm_limits* limits, mvm_transfer_totals** out_or_null,
                                     mvm_error** err);

// --- Watches ------------------------------------------------------------------------------------

typedef struct mvm_watch_options {
  uint32_t struct_size;
  // Everything below the directory too: links are not followed, file systems mounted below are not
  // entered. At most 8192 directories; those above that are told of by one overflow.
  mvm_bool recursive;
} mvm_watch_options;

typedef int32_t mvm_file_event_kind;
enum {
  MVM_FILE_EVENT_CREATED = 0,   // or moved in; what is found in a new directory may be told twice
  MVM_FILE_EVENT_MODIFIED = 1,  // content or attributes; a write may still be going on
  MVM_FILE_EVENT_REMOVED = 2,   // or moved out
  MVM_FILE_EVENT_RENAMED = 3,   // inside of what is watched
  MVM_FILE_EVENT_OVERFLOW = 4,  // something was missed: look for yourself, then go on reading
};

typedef struct mvm_file_event {
  uint32_t struct_size;
  mvm_file_event_kind kind;
  // Relative to the watched path, which itself is empty. Bytes as the guest says, at most 4095, no
  // ".." and no empty part: escape them before showing them.
  const char* path;
  const char* old_path;  // of renamed
  mvm_bool is_directory;
  uint32_t reserved;
} mvm_file_event;

// What happens to a file, or in a directory, from now on. Links on the way and at the end are
// followed. A handle that is not read holds what its stream holds and no more; behind that the
// guest's kernel keeps a bounded queue, and what does not fit there becomes one overflow. Errors:
// MVM_NOT_FOUND, MVM_INVALID_ARGUMENT, MVM_PROTOCOL or MVM_IO (an image of a version that knows no
// watches).
MVM_API mvm_status mvm_vm_watch(mvm_vm* vm, const char* path, const mvm_watch_options* options,
                                const mvm_limits* limits, mvm_watch** out, mvm_error** err);
// The next event, to be released with mvm_free(); *out is NULL when the watched path itself is gone
// (removed or moved), after its `removed`. A watch does not keep the Vm awake. One thread at a
// time. Errors: MVM_VM_SUSPENDED when the Vm was suspended or rolled back, by whomever: watch again
// and look what changed meanwhile. MVM_VM_GONE; MVM_CANCELLED and MVM_DEADLINE_EXCEEDED, which lose
// nothing; MVM_PROTOCOL.
MVM_API mvm_status mvm_watch_next(mvm_watch* watch, const mvm_limits* limits, mvm_file_event** out,
                                  mvm_error** err);
MVM_API mvm_status mvm_watch_try_next(mvm_watch* watch, mvm_file_event** out, mvm_error** err);
// Readable when the try has something.
MVM_API mvm_status mvm_watch_fd(mvm_watch* watch, int32_t* out, mvm_error** err);
MVM_API void mvm_watch_free(mvm_watch* watch);

// --- What this host can do ----------------------------------------------------------------------

typedef int32_t mvm_finding_state;
enum {
  MVM_FINDING_OK = 0,
  MVM_FINDING_NOTICE = 1,   // microVMs run; something is slower or less safe than it could be
  MVM_FINDING_PROBLEM = 2,  // they do not run, or not for long
};
MVM_API const char* mvm_finding_state_name(mvm_finding_state state);  // of others: "unknown"

// One thing that was looked at.
typedef struct mvm_finding {
  uint32_t struct_size;
  mvm_finding_state state;
  const char* name;    // "kvm", "kernel", "clocksource", …; stays the same, for programs
  const char* is;      // what was found
  const char* advice;  // what to change; empty: nothing
  const char* cost;    // what it costs to leave it; empty: nothing
} mvm_finding;
typedef struct mvm_finding_list {
  size_t count;
  const mvm_finding* const* items;
} mvm_finding_list;

typedef struct mvm_probe_options {
  uint32_t struct_size;
  uint32_t reserved;
  const char* data_dir;  // as in mvm_runtime_options
} mvm_probe_options;

// Runs tiny guests on /dev/kvm to see what it really executes, and reads what the kernel tells.
// Takes some ten milliseconds, changes nothing. "kvm" is first. Errors: MVM_CANCELLED,
// MVM_DEADLINE_EXCEEDED.
MVM_API mvm_status mvm_probe_host(const mvm_probe_options* options, const mvm_limits* limits,
                                  mvm_finding_list** out, mvm_error** err);
// Only the question whether a stock kernel will run. Errors: MVM_KVM_UNAVAILABLE,
// MVM_KVM_UNSUITABLE.
MVM_API mvm_status mvm_probe_kvm(const mvm_limits* limits, mvm_error** err);

typedef struct mvm_deep_probe_options {
  uint32_t struct_size;
  uint32_t reserved;
  const char* data_dir;    // whose newest kernel is booted; as in mvm_runtime_options
  const char* kernel_deb;  // a Debian linux-image to boot instead
  // Where the probe makes a directory for itself, which it removes again. Empty: the system's place
  // for temporary files.
  const char* scratch_dir;
  uint32_t clones;    // 0: 20
  uint32_t suspends;  // 0: 20
  mvm_progress_fn progress;
  void* progress_user;
} mvm_deep_probe_options;

typedef int32_t mvm_probe_step_state;
enum {
  MVM_PROBE_STEP_PASSED = 0,
  MVM_PROBE_STEP_FAILED = 1,
  MVM_PROBE_STEP_SKIPPED = 2,  // could not be tried here, or no time was left; detail says why
};
MVM_API const char* mvm_probe_step_state_name(mvm_probe_step_state state);  // others: "unknown"

// One thing that was done, so many times.
typedef struct mvm_probe_step {
  uint32_t struct_size;
  mvm_probe_step_state state;
  const char* name;
  const char* detail;
  uint64_t count;  // how often
  double p50_ms;   // of each time; 0: not timed
  double most_ms;
} mvm_probe_step;

// Of the machine, its kernel and what was seen, and nothing of who uses it: no names, paths or ids.
typedef struct mvm_deep_report {
  uint32_t struct_size;
  mvm_bool passed;  // no step failed and no finding is a problem
  const char* cpu_model;
  const char* microcode;
  uint64_t memory_bytes;
  const char* kernel;
  const mvm_key_value* kvm_parameters;  // "kvm.nx_huge_pages": "Y"
  size_t kvm_parameters_count;
  const mvm_finding* const* findings;
  size_t findings_count;
  const mvm_probe_step* const* steps;
  size_t steps_count;
  uint64_t took_ms;
  uint32_t cpus;
  uint32_t reserved;
} mvm_deep_report;

// Runs tiny guests with 1 to 8 vCPUs and, where Linux runs and there is a kernel, a guest with two
// vCPUs: boot, snapshot, clones, suspends, with looks at clocks and randomness. Needs no root and
// leaves nothing behind. Two minutes at most, unless the limits say otherwise: what there was no
// time for is skipped. Errors: MVM_CANCELLED; MVM_IO (no scratch directory).
MVM_API mvm_status mvm_deep_probe(const mvm_deep_probe_options* options, const mvm_limits* limits,
                                  mvm_deep_report** out, mvm_error** err);

#ifdef __cplusplus
}
#endif

#endif  // MICROVM_H_
