// The root object: a data directory and what is in it. Nothing of the library exists outside one.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "microvm/cancel.hpp"
#include "microvm/checkpoint.hpp"
#include "microvm/error.hpp"
#include "microvm/event.hpp"
#include "microvm/image.hpp"
#include "microvm/prune.hpp"
#include "microvm/vm.hpp"
#include "microvm/vm_start.hpp"

namespace microvm {

struct RuntimeOptions {
  // Empty: $MICROVM_DATA_DIR, else $XDG_DATA_HOME/libmicrovm, else ~/.local/share/libmicrovm.
  std::filesystem::path data_dir;
  // Workers kept started and shaped for the next run() of each image this Runtime has run.
  uint32_t pool_size = 0;
  // What the running Vms of the directory may have together, each counted with all the memory its
  // guest sees, however little of it is in use or shared. A run(), fork() or resume above it is
  // refused with out_of_memory; a suspended Vm counts nothing. 0: no limit. Other processes that
  // open the directory have limits of their own.
  uint64_t memory_limit_bytes = 0;
  // How many calls, through all handles of this Runtime, may wait for one Vm's change of state,
  // that is, mostly, for the resume that all of them need: further ones fail with busy at once.
  // terminate() always waits. 0: no limit.
  uint32_t max_waiting_calls = 4096;
  std::function<void(std::string_view)> log;  // one line each; any thread; empty: dropped
  // Each change of a Vm by this process, and the end of one that this process was the first to see;
  // any thread, as long as the Runtime or one of its Vm handles is there; that a Vm ended by itself
  // only while the Runtime is. It must not call the Vm it is told of, nor end the Runtime.
  std::function<void(const VmEvent&)> on_event;
};

// Several processes may open the same directory. Movable; thread-safe. Limits are looked at between
// the things that a call lists, removes or converts; one whose removal has begun goes.
class MICROVM_API Runtime {
 public:
  static Result<Runtime> open(const RuntimeOptions& options = {}, const CallLimits& limits = {});
  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) noexcept;
  ~Runtime();

  // From a Debian linux-image .deb. Importing the same kernel again changes nothing.
  Result<KernelInfo> import_kernel(const std::filesystem::path& deb, const CallLimits& limits = {});
  Result<std::vector<KernelInfo>> kernels(const CallLimits& limits = {}) const;
  // Errors: not_found; busy while an image was built with it or is being built; corrupt when an
  // image can not be read, which may need it.
  Result<void> remove_kernel(const std::string& name_or_digest, const CallLimits& limits = {});

  // From a tar (any compression libarchive knows) of a root file system.
  Result<BaseInfo> import_base(const std::string& name, const std::filesystem::path& tar,
                               const ImportBaseOptions& options = {},
                               const CallLimits& limits = {});
  Result<std::vector<BaseInfo>> bases(const CallLimits& limits = {}) const;
  // Its content goes too, unless another name means the same. Errors: as for a kernel.
  Result<void> remove_base(const std::string& name, const CallLimits& limits = {});

  Result<ImageInfo> build(const BuildOptions& options, const CallLimits& limits = {});
  Result<std::vector<ImageInfo>> images(const CallLimits& limits = {}) const;
  // "name" or "name:version".
  Result<ImageInfo> image(const std::string& reference, const CallLimits& limits = {}) const;
  // Refused with busy while a Vm runs or sleeps on it, or a checkpoint needs it.
  Result<void> remove_image(const std::string& reference, const CallLimits& limits = {});

  // At-rest form: memory as independent zstd frames, checked by digests. `unpack` makes it runnable
  // again. A packed image is refused by run() with a message that says so. After an error, of the
  // limits too, the image is as it was.
  Result<ImageInfo> pack_image(const std::string& reference, const PackOptions& options = {},
                               const CallLimits& limits = {});
  Result<ImageInfo> unpack_image(const std::string& reference, const PackOptions& options = {},
                                 const CallLimits& limits = {});

  // Launches from the image's snapshot; returns when the agent is ready and the run hook, if the
  // image has one, was answered. Error guest_failed: also when that hook fails; nothing stays
  // behind.
  Result<Vm> run(const std::string& image, const RunOptions& options = {},
                 const CallLimits& limits = {});
  // The same by a thread of this Runtime, without waiting for anything: for many at a time, and for
  // event loops. What run() checks is checked there.
  Result<VmStart> start(const std::string& image, const RunOptions& options = {});
  // All that are there: running, asleep, or ended and not yet removed. One that a newer version of
  // the library made is listed, kept, and refused with unsupported by every call that needs more.
  Result<std::vector<VmInfo>> vms(const CallLimits& limits = {}) const;
  Result<Vm> attach(const std::string& id_or_name, const CallLimits& limits = {}) const;
  // Ends it if needed, as Vm::terminate() does within the limits; forgets it.
  Result<void> remove_vm(const std::string& id_or_name, const CallLimits& limits = {});

  // Oldest first.
  Result<std::vector<CheckpointInfo>> checkpoints(const CallLimits& limits = {}) const;
  // A new Vm that goes on from a checkpoint, with an identity of its own; its run hook is called.
  Result<Vm> run_checkpoint(const std::string& id_or_name, const RunOptions& options = {},
                            const CallLimits& limits = {});
  // As start().
  Result<VmStart> start_checkpoint(const std::string& id_or_name, const RunOptions& options = {});
  // Makes a checkpoint the next version of an image.
  Result<ImageInfo> commit(const std::string& checkpoint, const std::string& image_name,
                           const CallLimits& limits = {});
  // Vms that were started from it go on.
  Result<void> remove_checkpoint(const std::string& id_or_name, const CallLimits& limits = {});

  // Frees what nothing needs any more, or says what that is; safe beside other processes that use
  // the directory. Handles of Vms that had ended say not_found afterwards. Opening the directory
  // has freed some of it already: leftovers, and Vms that died with their owner. What can not be
  // freed now stays. Errors: io; corrupt with `bases_and_kernels`, when an image can not be read;
  // cancelled, deadline_exceeded: what was freed until then is, the rest is whole.
  Result<PruneReport> prune(const PruneOptions& options = {}, const CallLimits& limits = {});

  // What happened to the Vms of the data directory lately, by whatever process; with `follow` also
  // what happens from now on.
  Result<EventStream> events(const EventOptions& options = {}, const CallLimits& limits = {}) const;

  // Starts `count` workers shaped for the image now, so that the next run() calls find them; what
  // the limits leave missing is started beside the next run().
  Result<void> warm(const std::string& image, uint32_t count, const CallLimits& limits = {});

  [[nodiscard]] const std::filesystem::path& data_dir() const noexcept;

  struct Impl;

 private:
  explicit Runtime(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace microvm
