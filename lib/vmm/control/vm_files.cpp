#include "vmm/control/vm_files.hpp"

#include <span>

#include "vmm/disk/layer_stack.hpp"

namespace microvm::vmm::control {
namespace {

constexpr size_t kFixedFiles = 6;
static_assert(wire::kMaxLayers == kMaxDiskFiles);

base::Failure too_few() {
  return base::fail(ErrorCode::invalid_argument, "the request came with too few fds");
}

}  // namespace

Result<VmFiles> sort_files(std::vector<base::Fd> fds, size_t overlays,
                           const std::vector<wire::DiskSpec>& disks, bool working_set) {
  if (overlays > wire::kMaxOverlays) {
    return base::fail(ErrorCode::invalid_argument, "memory of " + std::to_string(overlays) +
                                                       " overlays: give at most " +
                                                       std::to_string(wire::kMaxOverlays));
  }
  if (fds.size() < kFixedFiles + overlays) return too_few();
  VmFiles files{.first = std::move(fds[0]),
                .second = std::move(fds[1]),
                .listener = std::move(fds[2]),
                .exit_record = std::move(fds[3]),
                .kernel_log = std::move(fds[4]),
                .app_log = std::move(fds[5]),
                .overlays = {},
                .disks = {},
                .working_set = {},
                .leases = {}};
  auto rest = std::span(fds).subspan(kFixedFiles);
  const auto take = [&rest](size_t count) {
    std::vector<base::Fd> taken;
    for (base::Fd& fd : rest.first(count)) taken.push_back(std::move(fd));
    rest = rest.subspan(count);
    return taken;
  };
  files.overlays = take(overlays);
  for (const wire::DiskSpec& disk : disks) {
    if (disk.layers == 0 || disk.layers > wire::kMaxLayers) {
      return base::fail(ErrorCode::invalid_argument, "a disk of " + std::to_string(disk.layers) +
                                                         " layers: give 1 to " +
                                                         std::to_string(wire::kMaxLayers));
    }
    if (rest.size() < disk.layers) return too_few();
    files.disks.push_back(take(disk.layers));
  }
  if (working_set) {
    if (rest.empty()) return too_few();
    files.working_set = std::move(take(1).front());
  }
  files.leases = take(rest.size());
  return files;
}

}  // namespace microvm::vmm::control
