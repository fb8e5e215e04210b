// Snapshot and restore of tiny guests by the worker program, and everything that can be wrong with
// the files.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "state_file.hpp"
#include "tracer.hpp"
#include "worker_client.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

struct Snapshot {
  base::Fd memory = memory_file();
  base::Fd state = memory_file();
  wire::SnapshotReply reply;
};

Snapshot take(WorkerProcess& worker) {
  Snapshot snapshot;
  snapshot.reply = worker.owner().call_for<wire::SnapshotReply>(
      wire::SnapshotRequest{}, {snapshot.memory.get(), snapshot.state.get()});
  return snapshot;
}

Snapshot counting_snapshot(const TinyShape& shape = {}) {
  WorkerProcess worker;
  worker.run(counting_guest(), shape);
  worker.kernel_log(100);
  return take(worker);
}

uint64_t saved_counter(const Snapshot& snapshot) {
  uint64_t count = 0;
  REQUIRE(::pread(snapshot.memory.get(), &count, sizeof count, kCounterAddress) == sizeof count);
  return count;
}

uint64_t allocated_bytes(int fd) {
  struct stat info{};
  REQUIRE(::fstat(fd, &info) == 0);
  return static_cast<uint64_t>(info.st_blocks) * 512;
}

// The guest prints right after it has counted: it was saved before or after that.
void check_continues(char first, char last_before, uint64_t count) {
  const bool had_printed = last_before == counter_character(count);
  CHECK(first == counter_character(had_printed ? count + 1 : count));
}

wire::Message restore_from(WorkerProcess& worker, const Snapshot& snapshot,
                           const TinyShape& shape = {}) {
  worker.shape(shape);
  return worker.restore(snapshot.memory.get(), snapshot.state.get());
}

base::Fd reopened_read_only(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

base::Fd read_only_file(off_t size) {
  const auto file = memory_file();
  REQUIRE(::ftruncate(file.get(), size) == 0);
  return reopened_read_only(file.get());
}

base::Fd copy_of(const std::string& bytes) {
  return memory_file(bytes);
}

}  // namespace

TEST_CASE("snapshot: clones go on where the guest stood, and so does the guest") {
  for (const bool plain_io : {false, true}) {
    WorkerProcess worker(plain_io);
    worker.run(counting_guest());
    worker.kernel_log(100);
    const auto snapshot = take(worker);
    const std::string before = worker.kernel_log();
    CHECK(worker.owner().call_for<wire::InfoReply>(wire::InfoRequest{}).paused);
    const uint64_t count = saved_counter(snapshot);

    WorkerProcess clones[2]{WorkerProcess(plain_io), WorkerProcess(plain_io)};
    for (WorkerProcess& clone : clones) {
      CHECK(error_code(restore_from(clone, snapshot)) == ErrorCode{});
      check_continues(clone.kernel_log(50)[0], before.back(), count);
    }
    worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
    check_continues(worker.kernel_log(before.size() + 10)[before.size()], before.back(), count);
  }
}

TEST_CASE("snapshot: zero pages are holes and the sizes are told") {
  const auto snapshot = counting_snapshot({.memory_bytes = 256 << 20});
  CHECK(snapshot.reply.memory_bytes == 256u << 20);
  CHECK(snapshot.reply.memory_data_bytes < 1u << 20);
  CHECK(allocated_bytes(snapshot.memory.get()) == snapshot.reply.memory_data_bytes);
  CHECK(snapshot.reply.pause_us > 0);
}

TEST_CASE("snapshot: a clone's snapshot is as good, and its base stays as it was") {
  const auto first = counting_snapshot();
  const std::string memory_before = read_file(first.memory.get());
  WorkerProcess clone;
  CHECK(error_code(restore_from(clone, first)) == ErrorCode{});
  clone.kernel_log(100);
  const auto second = take(clone);
  CHECK(saved_counter(second) >= saved_counter(first) + 99);
  WorkerProcess grandchild;
  CHECK(error_code(restore_from(grandchild, second)) == ErrorCode{});
  check_continues(grandchild.kernel_log(50)[0], clone.kernel_log().back(), saved_counter(second));
  CHECK(read_file(first.memory.get()) == memory_before);
}

TEST_CASE("snapshot: several vcpus, and a clone that is paused before it ran") {
  const TinyShape shape{.vcpus = 4};
  const auto snapshot = counting_snapshot(shape);
  WorkerProcess clone;
  CHECK(error_code(restore_from(clone, snapshot, shape)) == ErrorCode{});
  const auto again = take(clone);
  WorkerProcess grandchild;
  CHECK(error_code(restore_from(grandchild, again, shape)) == ErrorCode{});
  grandchild.kernel_log(50);
}

TEST_CASE("snapshot: a full disk is an error, and the guest goes on") {
  WorkerProcess worker;
  worker.run(counting_guest());
  worker.kernel_log(10);
  rlimit old{};
  REQUIRE(::prlimit(worker.pid(), RLIMIT_FSIZE, nullptr, &old) == 0);
  const rlimit small{8192, old.rlim_max};
  REQUIRE(::prlimit(worker.pid(), RLIMIT_FSIZE, &small, nullptr) == 0);
  const auto memory = memory_file();
  const auto state = memory_file();
  const auto reply = worker.owner().call(wire::SnapshotRequest{}, {memory.get(), state.get()});
  CHECK(error_code(reply.message) != ErrorCode{});
  REQUIRE(::prlimit(worker.pid(), RLIMIT_FSIZE, &old, nullptr) == 0);

  const size_t printed = worker.kernel_log().size();
  CHECK(worker.owner().call_for<wire::InfoReply>(wire::InfoRequest{}).paused);
  worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
  worker.kernel_log(printed + 20);
  CHECK(take(worker).reply.memory_data_bytes > 0);
}

TEST_CASE("snapshot: only empty regular files are taken") {
  WorkerProcess worker;
  worker.run(counting_guest());
  const auto empty = memory_file();
  const auto full = memory_file("something");
  const base::Fd device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const auto code_with = [&](int memory, int state) {
    return error_code(worker.owner().call(wire::SnapshotRequest{}, {memory, state}).message);
  };
  CHECK(code_with(full.get(), empty.get()) == ErrorCode::invalid_argument);
  CHECK(code_with(empty.get(), full.get()) == ErrorCode::invalid_argument);
  CHECK(code_with(device.get(), empty.get()) == ErrorCode::invalid_argument);
  CHECK(code_with(empty.get(), device.get()) == ErrorCode::invalid_argument);
}

TEST_CASE("snapshot: a machine with a disk, and clones with layers of their own") {
  const TinyShape shape{.disks = 1};
  const auto base = read_only_file(1 << 20);
  const auto layer = memory_file();
  WorkerProcess worker;
  worker.shape(shape);
  REQUIRE(error_code(worker.boot(counting_guest(), true, {{base.get(), layer.get()}})) ==
          ErrorCode{});
  worker.kernel_log(10);
  const auto snapshot = take(worker);
  CHECK_FALSE(read_file(layer.get()).empty());

  WorkerProcess clone;
  clone.shape(shape);
  const auto lower = reopened_read_only(layer.get());
  const auto own = memory_file();
  CHECK(error_code(clone.restore(snapshot.memory.get(), snapshot.state.get(), true,
                                 {{base.get(), lower.get(), own.get()}})) == ErrorCode{});
  clone.kernel_log(10);
  CHECK_FALSE(read_file(own.get()).empty());

  WorkerProcess without;
  without.shape(shape);
  CHECK(error_code(without.restore(snapshot.memory.get(), snapshot.state.get())) ==
        ErrorCode::invalid_argument);
  WorkerProcess wrong;
  wrong.shape(shape);
  const auto junk = memory_file("not a layer");
  CHECK(error_code(wrong.restore(snapshot.memory.get(), snapshot.state.get(), true,
                                 {{base.get(), junk.get()}})) == ErrorCode::corrupt);
}

TEST_CASE("restore: another shape is refused") {
  const auto snapshot = counting_snapshot();
  for (const TinyShape& shape : {TinyShape{.memory_bytes = 32 << 20},
                                 TinyShape{.memory_bytes = 8 << 20}, TinyShape{.vcpus = 2}}) {
    WorkerProcess worker;
    CHECK(error_code(restore_from(worker, snapshot, shape)) == ErrorCode::invalid_argument);
  }
  const TinyShape with_disk{.disks = 1};
  const auto base = read_only_file(1 << 20);
  const auto layer = memory_file();
  WorkerProcess worker;
  worker.shape(with_disk);
  CHECK(error_code(worker.restore(snapshot.memory.get(), snapshot.state.get(), true,
                                  {{base.get(), layer.get()}})) == ErrorCode::invalid_argument);
  WorkerProcess same;
  CHECK(error_code(restore_from(same, snapshot)) == ErrorCode{});
}

TEST_CASE("restore: a memory file of another length is corrupt") {
  const auto snapshot = counting_snapshot();
  for (const off_t size : {off_t{0}, off_t{8 << 20}, off_t{64 << 20}}) {
    REQUIRE(::ftruncate(snapshot.memory.get(), size) == 0);
    WorkerProcess worker;
    CHECK(error_code(restore_from(worker, snapshot)) == ErrorCode::corrupt);
    CHECK(error_code(worker.owner().call(wire::ResumeRequest{}).message) == ErrorCode::busy);
    worker.owner().call_for<wire::OkReply>(wire::TerminateRequest{});
    CHECK(worker.wait_exit() == 0);
  }
}

TEST_CASE("restore: a cut or changed state file is corrupt") {
  const auto snapshot = counting_snapshot();
  const std::string good = read_file(snapshot.state.get());
  const auto restore_with = [&](const std::string& state) {
    WorkerProcess worker;
    worker.shape();
    const auto file = copy_of(state);
    return error_code(worker.restore(snapshot.memory.get(), file.get()));
  };
  for (size_t part = 0; part < 8; ++part) {
    CHECK(restore_with(good.substr(0, good.size() * part / 8)) == ErrorCode::corrupt);
    std::string bytes = good;
    bytes[good.size() * part / 8] ^= 0x20;
    CHECK(restore_with(bytes) == ErrorCode::corrupt);
  }
}

// Bodies with right checksums and wrong content: what an attacker would write.
TEST_CASE("restore: hostile state with right checksums never ends the worker") {
  const auto snapshot = counting_snapshot();
  const std::string good = read_file(snapshot.state.get());
  size_t sections = 0;
  unsigned seed = 1;
  int refused = 0;
  int taken = 0;
  const auto each = with_sections(good, [&](const state::Section& section) {
    INFO("section ", static_cast<uint32_t>(section.id), "/", section.instance);
    ++sections;
    const wire::Bytes whole(section.body.begin(), section.body.end());
    for (int variant = 0; variant < 4; ++variant) {
      INFO("variant ", variant);
      wire::Bytes body = whole;
      for (std::byte& byte : body) {
        seed = seed * 1103515245 + 12345;
        const bool change = variant < 2 || (seed >> 16) % 16 == 0;
        if (change) byte = variant == 0 ? std::byte{0xff} : static_cast<std::byte>(seed >> 20);
      }
      WorkerProcess worker;
      worker.shape();
      const auto file = copy_of(with_body(good, section.id, section.instance, body));
      const auto code = error_code(worker.restore(snapshot.memory.get(), file.get()));
      // Refused for what it is, or taken and then the guest may go wrong.
      constexpr std::array kAnswers = {ErrorCode{},
                                       ErrorCode::corrupt,
                                       ErrorCode::invalid_argument,
                                       ErrorCode::incompatible_cpu,
                                       ErrorCode::io,
                                       ErrorCode::unsupported};
      CHECK(std::ranges::find(kAnswers, code) != kAnswers.end());
      ++(code == ErrorCode{} ? taken : refused);
      worker.owner().send(wire::TerminateRequest{});
      CHECK(worker.wait_exit() == 0);
    }
    return whole;
  });
  CHECK(each == good);
  CHECK(sections >= 8);
  MESSAGE(sections << " sections: " << refused << " refused, " << taken << " taken");
}

// Each call by which it writes is a place where it may be killed.
TEST_CASE("snapshot: killing the worker in the middle leaves a snapshot that is whole or refused") {
  int whole = 0;
  int refused = 0;
  for (size_t number = 1; whole == 0; ++number) {
    INFO("call ", number);
    REQUIRE(number < 100);
    WorkerProcess worker;
    worker.run(counting_guest(), {.memory_bytes = 64 << 20});
    worker.kernel_log(10);
    const Snapshot snapshot;
    bool killed = false;
    {
      Tracer tracer(worker.pid());
      worker.owner().send(wire::SnapshotRequest{}, {snapshot.memory.get(), snapshot.state.get()});
      killed = tracer.kill_at_write(number, [&] { return worker.owner().has_message(); });
    }
    worker.kill();
    WorkerProcess clone;
    const auto code = error_code(restore_from(clone, snapshot, {.memory_bytes = 64 << 20}));
    if (killed) {
      CHECK(code == ErrorCode::corrupt);  // the state file comes last
      ++refused;
    } else {
      REQUIRE(code == ErrorCode{});
      CHECK(clone.kernel_log(50)[1] == counter_character(saved_counter(snapshot) + 2));
      ++whole;
    }
    clone.owner().send(wire::TerminateRequest{});
    CHECK(clone.wait_exit() == 0);
  }
  MESSAGE("killed at " << refused << " calls");
  CHECK(refused >= 4);
}
