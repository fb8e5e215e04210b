// One microVM, by sections: identity and state, programs, terminals, files, copies of trees, ports,
// network, logs, sleep, forks and checkpoints, the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "microvm/cancel.hpp"
#include "microvm/checkpoint.hpp"
#include "microvm/error.hpp"
#include "microvm/exec.hpp"
#include "microvm/files.hpp"
#include "microvm/idle.hpp"
#include "microvm/launch.hpp"
#include "microvm/log_stream.hpp"
#include "microvm/network.hpp"
#include "microvm/pty.hpp"
#include "microvm/suspension.hpp"
#include "microvm/vm_end.hpp"
#include "microvm/vm_info.hpp"
#include "microvm/watch.hpp"

namespace microvm {

enum class LogSource { app, kernel };

// What happens at once to one Vm, from whatever handle, thread or process:
// - suspend, resume, fork, checkpoint, rollback, terminate and the policy's decisions change it one
//   after the other, in an order that nobody promises, and each finds what the one before has left:
//   a suspend after a suspend does nothing, or is busy as long as this process has not finished the
//   first; a resume after it wakes the Vm; fork and checkpoint wake it first; rollback takes it as
//   it is. After terminate all are vm_gone, but terminate itself, which is done.
// - A call that uses the guest (exec, connect, files, …) goes on over fork and checkpoint. suspend,
//   rollback and terminate cut it short: its streams end, while programs of exec and on terminals
//   go on in the guest and can be attached to again (calls for files begin again, see there). One
//   that begins meanwhile waits for a resume or rollback, wakes what was suspended, is vm_gone
//   after terminate.
// - A decision that a Vm is idle is dropped when somebody began to use it before its guest stopped.
// - When its worker dies the calls under way fail with vm_gone or guest_failed. The Vm has ended,
//   or sleeps at its last saved state if it has one.
// - When its owner dies a Vm that dies with it ends, whatever is under way. Any other one goes on,
//   and a change that the owner had begun is done whole or not at all.
//
// Copies share the Vm. All calls are thread-safe. A Vm that dies with its owner ends when the last
// copy and the Runtime are gone. Calls that need the guest resume a suspended Vm first.
class MICROVM_API Vm {
 public:
  // ---- identity and state: no call of these wakes it ----

  [[nodiscard]] const std::string& id() const noexcept;
  Result<VmInfo> info() const;
  [[nodiscard]] LaunchTimes launch_times() const;  // of the last start; zero for an attached Vm
  Result<VmCounters> counters(const CallLimits& limits = {}) const;  // gives up after 10 s

  // ---- programs: exec.hpp ----

  // A program; see Exec. At most 1,024 run at a time in one Vm. One that could not be started is an
  // Exec whose wait() says why. Arguments and environment: as Linux takes them, 2 MiB together and
  // 128 KiB each (256 KiB of each list with an image of an older version).
  // Errors: already_exists (the id), busy (too many), unsupported (an image of an older version:
  // id, detached, long lists), vm_gone, cancelled, deadline_exceeded. Where the Vm was suspended
  // under the call, the program may have been started in spite of busy, cancelled and
  // deadline_exceeded: execs() tells.
  Result<Exec> exec(const ExecOptions& options, const CallLimits& limits = {});
  // Another handle of a program, at most 16 at a time; of one that has ended since, too: the rest
  // of its output and its exit status.
  // Errors: not_found, busy (another client writes; or too many), invalid_argument (a position that
  // its output has not come to: it was rolled back), unsupported, vm_gone, cancelled,
  // deadline_exceeded.
  Result<Exec> attach_exec(const std::string& id, const ExecAttachOptions& options = {},
                           const CallLimits& limits = {});
  Result<std::vector<ExecInfo>> execs(const CallLimits& limits = {});  // the oldest first
  // To its process group; where the Vm was suspended under the call it may come twice, or be
  // answered by the end it brought. Errors: not_found, busy (it has ended), invalid_argument (no
  // such signal).
  Result<void> signal_exec(const std::string& id, int signal, const CallLimits& limits = {});
  // Until it has ended; from then on it is not known any more. Reads none of its output, so others
  // may have to. Errors: not_found, vm_suspended, …
  Result<ExitStatus> wait_exec(const std::string& id, const CallLimits& limits = {});
  // Runs to the end and collects what it puts out. Cut short by the limits it
  // is killed.
  Result<ExecResult> exec_collect(const ExecOptions& options, const CollectOptions& collect = {},
                                  const CallLimits& limits = {});

  // ---- terminals: pty.hpp ----

  // A program on a pseudo terminal; the handle writes. At most 32 at a time in one Vm. A program
  // that could not be started is a Pty whose wait() says why.
  // Errors: already_exists (the id), busy (too many), vm_gone, cancelled, deadline_exceeded.
  Result<Pty> pty(const PtyOptions& options = {}, const CallLimits& limits = {});
  // Another handle of a running terminal, at most 8 at a time; of one that has ended since, too:
  // the end of its output and its exit status.
  // Errors: not_found, busy (another client writes; or too many), vm_gone, cancelled,
  // deadline_exceeded.
  Result<Pty> attach_pty(const std::string& id, const PtyAttachOptions& options = {},
                         const CallLimits& limits = {});
  Result<std::vector<PtyInfo>> ptys(const CallLimits& limits = {});  // the oldest first
  // Hangs up: SIGHUP, after 5 s SIGKILL; returns when the program has ended. Error: not_found.
  Result<void> close_pty(const std::string& id, const CallLimits& limits = {});

  // ---- files of the guest: files.hpp, watch.hpp ----

  // Errors of all of them: not_found, permission_denied,
  // invalid_argument (also: a directory where a file is needed and the other way round), io;
  // vm_gone, cancelled, deadline_exceeded (also: a guest that is silent for two minutes). A call
  // whose Vm is suspended or rolled back under it wakes the Vm and begins again; a change that was
  // done by then is not done twice (the guest remembers its last 64). vm_suspended: where that can
  // not be, as the caller's sink or source has had a part already, or the image is of a version
  // that remembers nothing.
  Result<std::vector<std::byte>> read_file(const std::string& path,
                                           const ReadFileOptions& options = {},
                                           const CallLimits& limits = {});
  Result<FileInfo> read_file_to(const std::string& path, const DataSink& sink,
                                const ReadFileOptions& options = {}, const CallLimits& limits = {});
  // The whole content, in one step: programs see the old or the new file, and after an error the
  // old one. A link at the end is followed; other names of the file (hard links) keep the old
  // content. Errors: already_exists, out_of_disk.
  Result<void> write_file(const std::string& path, std::span<const std::byte> content,
                          const WriteFileOptions& options = {}, const CallLimits& limits = {});
  Result<void> write_file_from(const std::string& path, const DataSource& source,
                               const WriteFileOptions& options = {}, const CallLimits& limits = {});
  // At the end of the file, which is made when there is none; mode and owner count for a new one
  // only. What was written before an error stays.
  Result<void> append_file(const std::string& path, std::span<const std::byte> content,
                           const WriteFileOptions& options = {}, const CallLimits& limits = {});
  Result<FileInfo> stat_file(const std::string& path, const StatFileOptions& options = {},
                             const CallLimits& limits = {});
  // Sorted by name, without "." and "..".
  Result<std::vector<FileInfo>> list_files(const std::string& path,
                                           const ListFilesOptions& options = {},
                                           const CallLimits& limits = {});
  Result<void> make_directory(const std::string& path, const MakeDirectoryOptions& options = {},
                              const CallLimits& limits = {});  // error: already_exists
  // A link itself, never what it leads to.
  Result<void> remove_file(const std::string& path, const RemoveFileOptions& options = {},
                           const CallLimits& limits = {});
  Result<void> rename_file(const std::string& path, const std::string& new_path,
                           const RenameFileOptions& options = {},
                           const CallLimits& limits = {});  // error: already_exists

  // What happens to a file, or in a directory, from now on; see Watch. Links on the way and at the
  // end are followed. Errors: not_found, invalid_argument, protocol or io (an image of a version
  // that knows no watches).
  Result<Watch> watch(const std::string& path, const WatchOptions& options = {},
                      const CallLimits& limits = {});

  // ---- copies of trees between guest and host ----

  // A file, or a directory with everything below it on the same file system, into a directory of
  // the host that is there. Nothing is written outside of it, whatever the guest says; links are
  // made and never followed; permissions and times are kept, set-id bits are not. What is in the
  // way of a file or link is replaced, directories are merged. Holes stay holes, and hard links
  // within the tree names of one file. Files that say no size (/proc, /sys) are read to their end,
  // of 16 MiB at most. What came before an error stays. Errors: those of both file systems; busy
  // when a file changes under the copy; invalid_argument when the path is of a device, fifo or
  // socket.
  Result<TransferTotals> download(const std::string& path, const std::filesystem::path& directory,
                                  const DownloadOptions& options = {},
                                  const CallLimits& limits = {});
  // The same as a tar (pax), everything kept; keep_owner does not matter.
  Result<TransferTotals> download_tar(const std::string& path, const DataSink& tar,
                                      const DownloadOptions& options = {},
                                      const CallLimits& limits = {});
  // A file or directory of the host into a directory of the guest, which is made (0755, root) when
  // there is none. Directories that are there keep mode and owner, files and links are replaced,
  // each in one step. `directory` has no ".." in it. Holes, hard links, sizes and errors as with
  // download().
  Result<TransferTotals> upload(const std::filesystem::path& path, const std::string& directory,
                                const UploadOptions& options = {}, const CallLimits& limits = {});
  // From a tar, compressed or not. Error: corrupt.
  Result<TransferTotals> upload_tar(const DataSource& tar, const std::string& directory,
                                    const UploadOptions& options = {},
                                    const CallLimits& limits = {});

  // ---- ports ----

  // A connected SOCK_STREAM socket to a TCP port on the guest's loopback; the caller owns the fd.
  // Errors: connection_refused, vm_gone, cancelled, deadline_exceeded.
  Result<int> connect(uint16_t port, const CallLimits& limits = {});

  // ---- network: network.hpp ----

  // Wakes nothing. Gives up after 10 s.
  Result<NetworkInfo> network(const CallLimits& limits = {});
  // From now on and for later resumes, in place of the one before: flows that it forbids have ended
  // when this returns. Wakes nothing. After an error of the network process (protocol,
  // deadline_exceeded, busy) the policy is recorded, and holds from its next start at the latest.
  // Errors: invalid_argument (a rule, with its place), unsupported (another mode than user),
  // vm_gone.
  Result<void> set_network_policy(const NetworkPolicy& policy, const CallLimits& limits = {});
  // Its flows from now on; see FlowStream. Error unsupported: another mode than user.
  Result<FlowStream> flows(const CallLimits& limits = {});

  // ---- logs ----

  // The last bytes kept of a log, at most 256 KiB; of one that sleeps or has ended too, and never
  // wakes it. Of one whose worker was killed all but the last moment (200 ms, more when the host's
  // disk is slow or full). Gives up after 10 s. Errors: io (nothing was kept), deadline_exceeded,
  // cancelled.
  Result<std::string> logs(LogSource source, const CallLimits& limits = {});
  // What is kept and what comes, until the Vm ends; see LogStream.
  Result<LogStream> follow_logs(LogSource source, const CallLimits& limits = {});

  // ---- sleep ----

  // Stops the guest and keeps its state: what it changed, compressed. It costs nothing but that
  // until it is resumed, by resume() or by any call that needs the guest, here or in another
  // process that opens the data directory (only here if it dies with its owner). Streams of the
  // host (connect, pty, exec without `reattach`) end when the worker is gone, a LogStream goes
  // on; programs, also those of exec, and connections inside go on later as if nothing had been,
  // with the right wall clock and a monotonic one that did not jump.
  // A resume before the state is durable is served from memory; other processes wait until it is,
  // as they do for every change of a Vm's state. A suspended Vm stays suspended (no error). A
  // suspend hook is called first; how it ends does not matter. Errors: busy (this process is
  // suspending it; too many calls wait), out_of_disk (the Vm runs on; what its guest writes to a
  // full disk waits until there is room, and the kernel's log says so), vm_gone, cancelled,
  // deadline_exceeded.
  Result<SuspendTimes> suspend(const SuspendOptions& options = {}, const CallLimits& limits = {});
  // Returns when the guest's programs run and the resume hook, if there is one, is through; at once
  // when they do. Many callers share one resume; calls of this process that need the guest wait for
  // it, up to RuntimeOptions::max_waiting_calls.
  // Errors: corrupt (naming the file), out_of_disk, busy (it dies with another process, or too many
  // wait), vm_gone; cancelled, deadline_exceeded, also while a suspension that this process has
  // begun is being written: it is then carried out, or given up with the guest running.
  // After a failure the saved state is as it was.
  Result<void> resume(const ResumeOptions& options = {}, const CallLimits& limits = {});

  // From now on it is not idle for the policy of this handle (idle.hpp), until what is returned is
  // dropped.
  [[nodiscard]] KeepAwake keep_awake();

  // ---- forks and checkpoints ----

  // `count` new Vms that go on from where this one is now, sharing its memory and disk until they
  // write, each with its own hostname, machine-id, boot_id and random numbers before its programs
  // go on. This one is paused for the copy of what it changed. All of them or none: also when a run
  // hook fails.
  Result<std::vector<Vm>> fork(const ForkOptions& options = {}, const CallLimits& limits = {});

  // Keeps its present state, which goes on unchanged when the Vm does; it is paused only while its
  // changed pages are copied. Returns when the checkpoint is on the disk.
  // Errors: already_exists, invalid_argument (the name), out_of_disk, deadline_exceeded (its
  // programs do not stop), vm_gone, …
  Result<CheckpointInfo> checkpoint(const CheckpointOptions& options = {},
                                    const CallLimits& limits = {});
  // Back to a checkpoint of this Vm: same id, identity and name; what it did since is lost. Streams
  // of the host end. Errors: not_found, invalid_argument (of another Vm), corrupt (then it goes on
  // as it was), …
  Result<void> rollback(const std::string& checkpoint, const CallLimits& limits = {});

  // ---- the end ----

  // Ends it at once, or when its terminate hook is through; idempotent. Everything it left on the
  // host is removed; of a Vm that may outlive its owner, record and logs stay until
  // Runtime::remove(). It waits for a change under way for a minute, and what its hooks may take,
  // then ends the Vm all the same; and for its own hook. The limits cut both short: before the end
  // has begun the call fails and nothing has happened; a terminate hook that is being asked is
  // given up and the Vm ends.
  Result<void> terminate(const CallLimits& limits = {});
  // Blocks until it has ended by itself or by terminate().
  Result<VmEnding> wait(const CallLimits& limits = {});
  // The same for who waits for end_fd(): would_block while it has not ended.
  Result<VmEnding> try_wait();
  // For poll(): readable for good once it has ended, half a second later where another process
  // ended it while it slept, and not after the Runtime has gone. Borrowed: it lives as long as this
  // handle or a copy of it. Always the same one. Error: io.
  Result<int> end_fd() const;

  struct Impl;
  explicit Vm(std::shared_ptr<Impl> impl);

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace microvm
