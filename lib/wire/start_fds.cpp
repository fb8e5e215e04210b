#include "wire/start_fds.hpp"

#include <span>
#include <string>

namespace microvm::wire {
namespace {

template <class Fds>
concept Restores = requires(Fds& fds) { fds.overlays; };

// The order, said once for both directions.
template <class Visitor, class Fds>
void visit(Visitor& v, Fds& fds) {
  if constexpr (Restores<Fds>) {
    v.one(fds.memory);
    v.one(fds.state);
  } else {
    v.one(fds.vmlinux);
    v.one(fds.initramfs);
  }
  v.one(fds.vm.listener);
  v.one(fds.vm.exit_record);
  v.one(fds.vm.kernel_log);
  v.one(fds.vm.app_log);
  if constexpr (Restores<Fds>) v.list(fds.overlays);
  for (auto& layers : fds.vm.disks) v.list(layers);
  if constexpr (Restores<Fds>) v.maybe(fds.working_set);
  v.maybe(fds.vm.kept_logs);
  v.maybe(fds.vm.tap);
  v.rest(fds.vm.leases);
}

struct Packer {
  std::vector<int> packed;
  void one(int fd) { packed.push_back(fd); }
  void list(const std::vector<int>& fds) { packed.insert(packed.end(), fds.begin(), fds.end()); }
  void maybe(const std::optional<int>& fd) {
    if (fd) one(*fd);
  }
  void rest(const std::vector<int>& fds) { list(fds); }
};

// The lists were given their lengths before. A missing fd leaves `short_of` set.
struct Unpacker {
  std::span<base::Fd> left;
  bool short_of = false;
  void one(base::Fd& fd) {
    short_of = short_of || left.empty();
    if (short_of) return;
    fd = std::move(left.front());
    left = left.subspan(1);
  }
  void list(std::vector<base::Fd>& fds) {
    for (base::Fd& fd : fds) one(fd);
  }
  void maybe(std::optional<base::Fd>& fd) {
    if (fd) one(*fd);
  }
  void rest(std::vector<base::Fd>& fds) {
    fds.resize(left.size());
    list(fds);
  }
};

// In a request of either kind.
void announce(const VmFds<int>& fds, auto& request) {
  request.disks.resize(fds.disks.size());
  for (size_t i = 0; i < fds.disks.size(); ++i) {
    request.disks[i].layers = static_cast<uint16_t>(fds.disks[i].size());
  }
  request.kept_logs = fds.kept_logs.has_value();
  if (fds.tap) request.network = NetworkKind::tap;
}

// Bounds what is made room for before any fd is looked at.
Result<void> make_room(const auto& request, VmFds<base::Fd>& fds) {
  for (const DiskSpec& disk : request.disks) {
    if (disk.layers == 0 || disk.layers > kMaxLayers) {
      return base::fail(ErrorCode::invalid_argument, "a disk of " + std::to_string(disk.layers) +
                                                         " layers: give 1 to " +
                                                         std::to_string(kMaxLayers));
    }
    fds.disks.emplace_back(disk.layers);
  }
  if (request.kept_logs) fds.kept_logs.emplace();
  if (request.network == NetworkKind::tap) fds.tap.emplace();
  return {};
}

template <class Fds>
Result<Fds> fill(Fds fds, std::vector<base::Fd> received) {
  Unpacker unpacker{.left = received};
  visit(unpacker, fds);
  if (unpacker.short_of) {
    return base::fail(ErrorCode::invalid_argument, "the request came with too few fds");
  }
  if (fds.vm.leases.size() > kMaxLeases) {
    return base::fail(ErrorCode::invalid_argument, "the request came with too many fds");
  }
  return fds;
}

template <class Fds>
std::vector<int> pack_all(const Fds& fds) {
  Packer packer;
  visit(packer, fds);
  return std::move(packer.packed);
}

}  // namespace

std::vector<int> pack(const BootFds<int>& fds, BootRequest& request) {
  announce(fds.vm, request);
  return pack_all(fds);
}

std::vector<int> pack(const RestoreFds<int>& fds, RestoreRequest& request) {
  announce(fds.vm, request);
  request.overlays = static_cast<uint16_t>(fds.overlays.size());
  request.working_set = fds.working_set.has_value();
  return pack_all(fds);
}

Result<BootFds<base::Fd>> unpack(const BootRequest& request, std::vector<base::Fd> received) {
  BootFds<base::Fd> fds;
  if (auto ok = make_room(request, fds.vm); !ok) return base::fail(ok.error());
  return fill(std::move(fds), std::move(received));
}

Result<RestoreFds<base::Fd>> unpack(const RestoreRequest& request, std::vector<base::Fd> received) {
  if (request.overlays > kMaxOverlays) {
    return base::fail(ErrorCode::invalid_argument, "memory of " + std::to_string(request.overlays) +
                                                       " overlays: give at most " +
                                                       std::to_string(kMaxOverlays));
  }
  RestoreFds<base::Fd> fds;
  fds.overlays.resize(request.overlays);
  if (request.working_set) fds.working_set.emplace();
  if (auto ok = make_room(request, fds.vm); !ok) return base::fail(ok.error());
  return fill(std::move(fds), std::move(received));
}

}  // namespace microvm::wire
