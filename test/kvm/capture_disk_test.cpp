// Captures of machines with disks, and the merge of their layers by a worker without a machine.
#include <fcntl.h>

#include <fstream>
#include <vector>

#include "captured.hpp"
#include "sys/loop.hpp"
#include "tracer.hpp"
#include "vmm/disk/disk_stack.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

constexpr size_t kDiskBytes = 1 << 20;

base::Fd disk_base() {
  return read_only(memory_file(std::string(kDiskBytes, 'b')).get());
}

base::Fd duplicate(int fd) {
  return base::Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

// The disk of these files, base first; writes 4 KiB of `fill` at `offset` when there is one.
std::string disk_content(const std::vector<int>& files, char fill = 0, uint64_t offset = 0) {
  auto loop = std::move(*sys::Loop::create());
  std::vector<base::Fd> fds;
  for (size_t i = 0; i < files.size(); ++i) {
    const bool writable = fill != 0 && i + 1 == files.size();
    fds.push_back(writable ? duplicate(files[i]) : read_only(files[i]));
  }
  auto disk = vmm::DiskStack::open(*loop, std::move(fds), {.read_only = fill == 0});
  REQUIRE(disk);
  int open = 0;
  const auto count = [&open](int error) {
    CHECK(error == 0);
    --open;
  };
  const auto wait = [&] {
    while (open > 0) loop->run_once(milliseconds(50));
  };
  if (fill != 0) {
    std::string data(4096, fill);
    const iovec out{data.data(), data.size()};
    ++open;
    (*disk)->write({&out, 1}, offset, count);
    wait();
    ++open;
    (*disk)->flush(count);
    wait();
  }
  std::string content(kDiskBytes, '\0');
  const iovec in{content.data(), content.size()};
  ++open;
  (*disk)->read({&in, 1}, 0, count);
  wait();
  return content;
}

}  // namespace

TEST_CASE("capture: a read-only disk stands beside, and gets no layer") {
  const TinyShape shape{.disks = 2};
  const auto base = disk_base();
  const auto layer = memory_file();
  WorkerProcess worker;
  worker.shape(shape);
  REQUIRE(error_code(worker.boot(counting_guest(), true,
                                 {{base.get(), layer.get()}, {base.get()}})) == ErrorCode{});
  worker.kernel_log(10);
  const auto next = memory_file();
  const auto captured = capture(worker.owner(), {}, {next.get()});
  CHECK_FALSE(read_file(next.get()).empty());
  worker.kernel_log(50);

  const auto zeros = zero_memory();
  const auto lower = read_only(layer.get());
  const auto own = memory_file();
  const auto restore = [&](WorkerProcess& clone, const WorkerProcess::Disks& disks) {
    clone.shape({.disks = static_cast<uint16_t>(disks.size())});
    return error_code(
        clone.restore(zeros.get(), captured.state.get(), true, disks, {captured.pages.get()}));
  };
  WorkerProcess clone;
  REQUIRE(restore(clone, {{base.get(), lower.get(), own.get()}, {base.get()}}) == ErrorCode{});
  clone.kernel_log(10);
  WorkerProcess without;
  CHECK(restore(without, {{base.get(), lower.get(), own.get()}}) == ErrorCode::invalid_argument);
}

TEST_CASE("capture: each writable disk gets a new layer, and the one below stays as it is") {
  const TinyShape shape{.disks = 2};
  const auto base = disk_base();
  const base::Fd layers[2] = {memory_file(), memory_file()};
  WorkerProcess worker;
  worker.shape(shape);
  REQUIRE(error_code(worker.boot(counting_guest(), true,
                                 {{base.get(), layers[0].get()}, {base.get(), layers[1].get()}})) ==
          ErrorCode{});
  worker.kernel_log(10);
  const base::Fd next[2] = {memory_file(), memory_file()};
  const auto captured = capture(worker.owner(), {}, {next[0].get(), next[1].get()});
  CHECK_FALSE(read_file(next[0].get()).empty());
  CHECK_FALSE(read_file(next[1].get()).empty());
  worker.kernel_log(50);

  const auto zeros = zero_memory();
  const auto own = memory_file();
  const auto other = memory_file();
  const auto lower = read_only(layers[0].get());
  const auto lower2 = read_only(layers[1].get());
  WorkerProcess clone;
  clone.shape(shape);
  REQUIRE(error_code(clone.restore(
              zeros.get(), captured.state.get(), true,
              {{base.get(), lower.get(), own.get()}, {base.get(), lower2.get(), other.get()}},
              {captured.pages.get()})) == ErrorCode{});
  clone.kernel_log(10);

  // The source's next state has both its layers below.
  const base::Fd third[2] = {memory_file(), memory_file()};
  const auto again = capture(worker.owner(), {}, {third[0].get(), third[1].get()});
  CHECK(again.reply.page_bytes > 0);
  worker.kernel_log(80);
}

TEST_CASE("capture: without the layers, or with one that is none, nothing changes") {
  const TinyShape shape{.disks = 1};
  const auto base = disk_base();
  const auto layer = memory_file();
  WorkerProcess worker;
  worker.shape(shape);
  REQUIRE(error_code(worker.boot(counting_guest(), true, {{base.get(), layer.get()}})) ==
          ErrorCode{});
  worker.kernel_log(10);
  CHECK(capture_code(worker.owner(), {}) == ErrorCode::invalid_argument);
  CHECK(capture_code(worker.owner(), {layer.get()}) == ErrorCode::invalid_argument);
  CHECK(capture_code(worker.owner(), {memory_file("full").get()}) == ErrorCode::invalid_argument);
  CHECK(capture_code(worker.owner(), {read_only(memory_file().get()).get()}) ==
        ErrorCode::invalid_argument);
  worker.kernel_log(worker.kernel_log().size() + 10);
  const auto next = memory_file();
  CHECK(capture(worker.owner(), {}, {next.get()}).reply.page_bytes > 0);
}

TEST_CASE("capture: one layer too many is an error that says so, and the guest runs on") {
  const TinyShape shape{.disks = 1};
  const auto base = disk_base();
  std::vector<base::Fd> layers;
  layers.push_back(memory_file());
  WorkerProcess worker;
  worker.shape(shape);
  REQUIRE(error_code(worker.boot(counting_guest(), true, {{base.get(), layers[0].get()}})) ==
          ErrorCode{});
  while (layers.size() + 1 < wire::kMaxLayers) {
    layers.push_back(memory_file());
    const auto captured = capture(worker.owner(), {}, {layers.back().get()});
  }
  const base::Fd layer = memory_file();
  CHECK(capture_code(worker.owner(), {layer.get()}) == ErrorCode::unsupported);
  worker.kernel_log(worker.kernel_log().size() + 10);
}

TEST_CASE("merge: a worker without a machine makes one layer of two and is gone") {
  const auto base = disk_base();
  const auto lower = memory_file();
  const auto upper = memory_file();
  disk_content({base.get(), lower.get()}, 'l', 0);
  const std::string both = disk_content({base.get(), lower.get(), upper.get()}, 'u', 8192);
  REQUIRE(both[0] == 'l');
  REQUIRE(both[8192] == 'u');
  const auto upper_read_only = read_only(upper.get());

  WorkerProcess worker;
  worker.owner().call_for<wire::OkReply>(wire::MergeRequest{},
                                         {lower.get(), upper_read_only.get()});
  CHECK(worker.wait_exit() == 0);
  CHECK(disk_content({base.get(), lower.get()}) == both);
  CHECK(disk_content({base.get(), lower.get(), upper.get()}) == both);

  WorkerProcess swapped;
  CHECK(error_code(swapped.owner()
                       .call(wire::MergeRequest{}, {upper_read_only.get(), lower.get()})
                       .message) == ErrorCode::invalid_argument);
  CHECK(swapped.wait_exit() == 0);
  WorkerProcess shaped;
  shaped.shape();
  CHECK(error_code(shaped.owner()
                       .call(wire::MergeRequest{}, {lower.get(), upper_read_only.get()})
                       .message) == ErrorCode::busy);
}

TEST_CASE("merge: the worker is locked down before it writes") {
  const auto base = disk_base();
  const auto lower = memory_file();
  const auto upper = memory_file();
  disk_content({base.get(), lower.get()}, 'l', 0);
  disk_content({base.get(), lower.get(), upper.get()}, 'u', 8192);
  const auto upper_read_only = read_only(upper.get());
  WorkerProcess worker;
  Tracer tracer(worker.pid());
  worker.owner().send(wire::MergeRequest{}, {lower.get(), upper_read_only.get()});
  size_t writes = 0;
  const auto look = [&](const Tracer::Call& call) {
    if (!Tracer::writes(call)) return 0;
    ++writes;
    std::ifstream file("/proc/" + std::to_string(worker.pid()) + "/status");
    const std::string status(std::istreambuf_iterator<char>(file), {});
    CHECK(status.find("Seccomp:\t2") != std::string::npos);
    return 0;
  };
  REQUIRE(tracer.follow(look, [&] { return worker.owner().has_message(); }));
  CHECK(writes >= 4);  // data, sync, map, sync
}

TEST_CASE("merge: a worker killed at any of its writes leaves a disk that reads as before") {
  const auto base = disk_base();
  const auto lower = memory_file();
  const auto upper = memory_file();
  for (uint64_t at = 0; at < kDiskBytes; at += 65536) {
    disk_content({base.get(), lower.get()}, 'l', at);
    disk_content({base.get(), lower.get(), upper.get()}, 'u', at + 4096);
  }
  const std::string both = disk_content({base.get(), lower.get(), upper.get()});
  const std::string below = read_file(lower.get());
  const auto upper_read_only = read_only(upper.get());

  std::vector<bool> unlike;  // by the calls: what the lower layer alone reads as
  for (bool killed = true; killed;) {
    const size_t number = unlike.size() + 1;
    INFO("call ", number);
    REQUIRE(number < 100);
    const auto own = memory_file(below);
    WorkerProcess worker;
    {
      Tracer tracer(worker.pid());
      worker.owner().send(wire::MergeRequest{}, {own.get(), upper_read_only.get()});
      killed = tracer.kill_at_write(number, [&] { return worker.owner().has_message(); });
    }
    REQUIRE(worker.wait_exit());
    unlike.push_back(disk_content({base.get(), own.get()}) != both);
    CHECK(disk_content({base.get(), own.get(), upper.get()}) == both);
  }
  CHECK(unlike.size() > kDiskBytes / 65536);
  CHECK(unlike.front());
  CHECK_FALSE(unlike.back());
}
