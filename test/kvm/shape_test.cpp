// Machines of every shape, and snapshots that meet machines of another.
#include <doctest/doctest.h>

#include "captured.hpp"
#include "state/sections.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

using state::SectionId;

struct Saved {
  base::Fd memory = memory_file();
  base::Fd state = memory_file();
};

Saved saved_guest(const TinyShape& shape) {
  Saved saved;
  WorkerProcess worker;
  worker.run(counting_guest(), shape);
  worker.kernel_log(10);
  worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                               {saved.memory.get(), saved.state.get()});
  return saved;
}

ErrorCode restore(WorkerProcess& worker, const Saved& saved, const TinyShape& shape) {
  worker.shape(shape);
  return error_code(worker.restore(saved.memory.get(), saved.state.get()));
}

// The state file as a library wrote it that knew no peaks.
base::Fd with_version_1(int state_fd, const TinyShape& shape) {
  const std::string text = read_file(state_fd);
  const auto in = state::Reader::parse(wire::as_bytes(text));
  REQUIRE(in);
  wire::ByteWriter machine;
  machine.put(shape.memory_bytes);
  machine.put(shape.vcpus);
  machine.put(shape.disks);
  state::Writer out;
  out.add(SectionId::machine, 0, 1, machine.take());
  constexpr uint32_t kMostInstances = 8;
  for (uint32_t id = 2; id < 64; ++id) {
    for (uint32_t instance = 0; instance < kMostInstances; ++instance) {
      const auto section = in->find(static_cast<SectionId>(id), instance, UINT16_MAX);
      if (!section) continue;
      out.add(section->id, instance, section->version,
              wire::Bytes(section->body.begin(), section->body.end()));
    }
  }
  const auto bytes = out.finish();
  return memory_file(wire::as_text(bytes));
}

}  // namespace

TEST_CASE("shape: a state file from before the peaks is restored into a machine without them") {
  const TinyShape shape{.vcpus = 2};
  auto saved = saved_guest(shape);
  saved.state = with_version_1(saved.state.get(), shape);
  WorkerProcess clone;
  CHECK(restore(clone, saved, shape) == ErrorCode{});
  clone.kernel_log(10);
  WorkerProcess growing;
  CHECK(restore(growing, saved, {.vcpus = 2, .peak_vcpus = 4}) == ErrorCode::invalid_argument);
}

TEST_CASE("shape: a guest goes on only where it can grow as far as it was told") {
  const TinyShape shape{.peak_memory_bytes = 64 << 20, .peak_vcpus = 4};
  const auto saved = saved_guest(shape);
  WorkerProcess clone;
  CHECK(restore(clone, saved, shape) == ErrorCode{});
  clone.kernel_log(10);
  for (const TinyShape& other : {TinyShape{}, TinyShape{.peak_memory_bytes = 64 << 20},
                                 TinyShape{.peak_memory_bytes = 32 << 20, .peak_vcpus = 4},
                                 TinyShape{.peak_memory_bytes = 64 << 20, .peak_vcpus = 8}}) {
    WorkerProcess worker;
    CHECK(restore(worker, saved, other) == ErrorCode::invalid_argument);
  }
}
