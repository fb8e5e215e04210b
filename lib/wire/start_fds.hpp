// The fds that come with a BootRequest and a RestoreRequest: what each is, their order, and how
// many of each the request announces. One visitor (start_fds.cpp) packs and unpacks them.
#pragma once

#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "wire/control.hpp"

namespace microvm::wire {

inline constexpr size_t kMaxLeases = 16;

// `Handle` is int, borrowed, with who sends them, and base::Fd with who receives them.
template <class Handle>
struct VmFds {
  Handle listener{};
  Handle exit_record{};
  Handle kernel_log{};
  Handle app_log{};
  std::vector<std::vector<Handle>> disks;  // the layers of each, base first
  std::vector<Handle> leases;              // locked files: they say that the Vm lives
  // Where the worker keeps its logs while it runs (state/kept_logs.hpp), read-write.
  std::optional<Handle> kept_logs = {};
  // NetworkKind::tap: non-blocking, IFF_NO_PI, a virtio-net header of 12 bytes; its offloads are
  // the worker's to set.
  std::optional<Handle> tap = {};
};

template <class Handle>
struct BootFds {
  Handle vmlinux{};
  Handle initramfs{};
  VmFds<Handle> vm;
};

template <class Handle>
struct RestoreFds {
  Handle memory{};
  Handle state{};
  VmFds<Handle> vm;
  std::vector<Handle> overlays;  // of the memory, lowest first
  std::optional<Handle> working_set;
};

// In the order of the wire. What the request says of them is filled in: the layers of each disk,
// where fewer disks than there are files for are added with the usual flags, overlays, working set,
// and that the network is a tap when there is one.
[[nodiscard]] std::vector<int> pack(const BootFds<int>& fds, BootRequest& request);
[[nodiscard]] std::vector<int> pack(const RestoreFds<int>& fds, RestoreRequest& request);

// Each in its place. Error invalid_argument: fewer fds than the request announces, more than a
// start can have, too many overlays, a disk of no or too many layers.
[[nodiscard]] Result<BootFds<base::Fd>> unpack(const BootRequest& request,
                                               std::vector<base::Fd> fds);
[[nodiscard]] Result<RestoreFds<base::Fd>> unpack(const RestoreRequest& request,
                                                  std::vector<base::Fd> fds);

}  // namespace microvm::wire
