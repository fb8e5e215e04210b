#include "wire/start_fds.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <initializer_list>

using namespace microvm;
using namespace microvm::wire;

namespace {

// Files that are told apart by their inodes, in the order they were made.
class Files {
 public:
  int add() {
    files_.emplace_back(::memfd_create("file", MFD_CLOEXEC));
    REQUIRE(files_.back());
    return files_.back().get();
  }
  std::vector<int> add(size_t count) {
    std::vector<int> fds;
    for (size_t i = 0; i < count; ++i) fds.push_back(add());
    return fds;
  }

 private:
  std::vector<base::Fd> files_;
};

std::vector<base::Fd> received(const std::vector<int>& sent) {
  std::vector<base::Fd> fds;
  for (const int fd : sent) fds.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  return fds;
}

bool same(const base::Fd& got, int sent) {
  struct stat a{};
  struct stat b{};
  return ::fstat(got.get(), &a) == 0 && ::fstat(sent, &b) == 0 && a.st_ino == b.st_ino;
}

bool same(const std::vector<base::Fd>& got, const std::vector<int>& sent) {
  if (got.size() != sent.size()) return false;
  for (size_t i = 0; i < sent.size(); ++i) {
    if (!same(got[i], sent[i])) return false;
  }
  return true;
}

VmFds<int> vm_fds(Files& files) {
  VmFds<int> fds;
  fds.listener = files.add();
  fds.exit_record = files.add();
  fds.kernel_log = files.add();
  fds.app_log = files.add();
  fds.disks = {files.add(2), files.add(3)};
  fds.leases = files.add(2);
  fds.kept_logs = files.add();
  fds.tap = files.add();
  return fds;
}

void check_same(const VmFds<base::Fd>& got, const VmFds<int>& sent) {
  CHECK(same(got.listener, sent.listener));
  CHECK(same(got.exit_record, sent.exit_record));
  CHECK(same(got.kernel_log, sent.kernel_log));
  CHECK(same(got.app_log, sent.app_log));
  REQUIRE(got.disks.size() == sent.disks.size());
  for (size_t i = 0; i < sent.disks.size(); ++i) CHECK(same(got.disks[i], sent.disks[i]));
  CHECK(same(got.leases, sent.leases));
  REQUIRE(got.kept_logs.has_value() == sent.kept_logs.has_value());
  if (sent.kept_logs) CHECK(same(*got.kept_logs, *sent.kept_logs));
  REQUIRE(got.tap.has_value() == sent.tap.has_value());
  if (sent.tap) CHECK(same(*got.tap, *sent.tap));
}

RestoreFds<int> restore_fds(Files& files) {
  return {files.add(), files.add(), vm_fds(files), files.add(2), files.add()};
}

constexpr size_t kRestoreFds = 6 + 2 + 5 + 3;  // without leases

}  // namespace

TEST_CASE("start fds: those of a boot are each found in their place") {
  Files files;
  const BootFds<int> sent{files.add(), files.add(), vm_fds(files)};
  BootRequest request;
  const auto got = unpack(request, received(pack(sent, request)));
  REQUIRE(got);
  REQUIRE(request.disks.size() == 2);
  CHECK(request.disks[1].layers == 3);
  CHECK(same(got->vmlinux, sent.vmlinux));
  CHECK(same(got->initramfs, sent.initramfs));
  check_same(got->vm, sent.vm);
}

TEST_CASE("start fds: those of a restore are each found in their place") {
  Files files;
  RestoreFds<int> sent = restore_fds(files);
  for (const bool with_working_set : {true, false}) {
    if (!with_working_set) sent.working_set.reset();
    RestoreRequest request;
    const auto got = unpack(request, received(pack(sent, request)));
    REQUIRE(got);
    CHECK(request.overlays == 2);
    CHECK(request.working_set == with_working_set);
    CHECK(same(got->memory, sent.memory));
    CHECK(same(got->state, sent.state));
    CHECK(same(got->overlays, sent.overlays));
    REQUIRE(got->working_set.has_value() == with_working_set);
    if (with_working_set) CHECK(same(*got->working_set, *sent.working_set));
    check_same(got->vm, sent.vm);
  }
}

// Workers of version 1 take them in this order.
TEST_CASE("start fds: the order is the one that every worker knows") {
  VmFds<int> vm{12, 13, 14, 15, {{18, 19}, {20}}, {22, 23}};
  RestoreRequest restore;
  CHECK(pack(RestoreFds<int>{10, 11, vm, {16, 17}, 21}, restore) ==
        std::vector<int>{10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23});
  BootRequest boot;
  CHECK(pack(BootFds<int>{10, 11, vm}, boot) ==
        std::vector<int>{10, 11, 12, 13, 14, 15, 18, 19, 20, 22, 23});
}

TEST_CASE("start fds: a tap is the network, and without one there is that which was asked for") {
  Files files;
  BootFds<int> fds{files.add(), files.add(), vm_fds(files)};
  BootRequest request;
  static_cast<void>(pack(fds, request));
  CHECK(request.network == NetworkKind::tap);
  fds.vm.tap.reset();
  for (const NetworkKind kind : {NetworkKind::none, NetworkKind::user}) {
    request.network = kind;
    const auto got = unpack(request, received(pack(fds, request)));
    REQUIRE(got);
    CHECK(request.network == kind);
    CHECK_FALSE(got->vm.tap.has_value());
  }
}

TEST_CASE("start fds: packing keeps what the request says of its disks") {
  RestoreRequest request;
  request.disks = {{.read_only = true, .hold_when_full = true}};
  RestoreFds<int> fds;
  fds.vm.disks = {{1, 2}, {3}};
  CHECK(pack(fds, request).size() == 9);
  REQUIRE(request.disks.size() == 2);
  CHECK(request.disks[0].read_only);
  CHECK(request.disks[0].hold_when_full);
  CHECK(request.disks[0].layers == 2);
  CHECK_FALSE(request.disks[1].read_only);
}

TEST_CASE("start fds: too few are refused, however many are missing") {
  Files files;
  RestoreRequest request;
  std::vector<int> sent = pack(restore_fds(files), request);
  sent.resize(kRestoreFds);
  CHECK(unpack(request, received(sent)));
  while (!sent.empty()) {
    sent.pop_back();
    const auto refused = unpack(request, received(sent));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::invalid_argument);
    CHECK(refused.error().message == "the request came with too few fds");
  }
  CHECK_FALSE(unpack(BootRequest{}, {}));
}

TEST_CASE("start fds: too many are refused") {
  Files files;
  RestoreRequest request;
  RestoreFds<int> fds = restore_fds(files);
  fds.vm.leases = files.add(kMaxLeases);
  CHECK(unpack(request, received(pack(fds, request))));
  fds.vm.leases.push_back(files.add());
  const auto refused = unpack(request, received(pack(fds, request)));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message == "the request came with too many fds");
}

TEST_CASE("start fds: counts that no start can have are refused") {
  Files files;
  const auto fds = files.add(40);
  RestoreRequest request;
  request.overlays = kMaxOverlays + 1;
  CHECK(unpack(request, received(fds)).error().message == "memory of 5 overlays: give at most 4");
  for (const uint16_t layers : std::initializer_list<uint16_t>{0, 33, 65535}) {
    BootRequest boot;
    boot.disks = {{.layers = layers}};
    const auto refused = unpack(boot, received(fds));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message ==
          "a disk of " + std::to_string(layers) + " layers: give 1 to 32");
    request.overlays = 0;
    request.disks = boot.disks;
    CHECK_FALSE(unpack(request, received(fds)));
  }
}
