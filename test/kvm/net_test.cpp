// A worker with a network device: what its shape, its start and its starter cost, and that the
// device is there, saved and restored.
#include <signal.h>
#include <sys/prctl.h>

#include <filesystem>
#include <fstream>

#include "captured.hpp"
#include "sys/socket.hpp"
#include "tracer.hpp"
#include "unit/host/temp_dir.hpp"
#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/virtio/mmio_registers.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

constexpr TinyShape kWithNet{.nets = 1};

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  const std::string name = std::to_string(pid);
  std::ifstream in("/proc/" + name + "/task/" + name + "/children");
  for (pid_t child = 0; in >> child;) children.push_back(child);
  return children;
}

uint64_t kib_of(pid_t pid, const std::string& field) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/smaps_rollup");
  uint64_t sum = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(field)) sum += std::stoull(line.substr(line.find(':') + 1));
  }
  return sum;
}

// It may be left for its parent to be waited for.
bool ended_within(pid_t pid, milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  const std::string program = "/proc/" + std::to_string(pid) + "/exe";
  char link[8];
  while (::readlink(program.c_str(), link, sizeof link) > 0) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::usleep(1000);
  }
  return true;
}

// Prints what the network device's registers say: its type, and its link.
Code looking_guest() {
  Code code;
  code.map_devices();
  const uint64_t device = vmm::layout::virtio_mmio_address(6);
  code.point_at(device + vmm::mmio::kDeviceId).load_eax().al_to_printable();
  code.write_al_to_port(0x3f8);
  code.point_at(device + vmm::mmio::kConfig + 6).load_al().al_to_printable();
  code.write_al_to_port(0x3f8);
  return code.stop_forever();
}

}  // namespace

TEST_CASE("net: a shape with a network has its device, with a link when it is connected") {
  for (const auto kind : {wire::NetworkKind::none, wire::NetworkKind::user}) {
    WorkerProcess worker;
    worker.shape(kWithNet);
    worker.network = kind;
    REQUIRE(std::holds_alternative<wire::OkReply>(worker.boot(looking_guest())));
    const std::string seen = worker.kernel_log(2);
    CHECK(seen[0] == ' ' + 1);
    CHECK(seen[1] == (kind == wire::NetworkKind::user ? ' ' + 1 : ' '));
  }
}

TEST_CASE("net: a start that wants a network needs a shape with one") {
  WorkerProcess worker;
  worker.shape({});
  worker.network = wire::NetworkKind::user;
  const auto reply = worker.boot(looking_guest());
  REQUIRE(std::holds_alternative<wire::ErrorReply>(reply));
  CHECK(std::get<wire::ErrorReply>(reply).message ==
        "the image was made without a network: build it anew");
}

TEST_CASE("net: the starter sleeps in little memory and with few files, and ends with its worker") {
  WorkerProcess worker;
  worker.shape(kWithNet);
  worker.network = wire::NetworkKind::user;
  REQUIRE(std::holds_alternative<wire::OkReply>(worker.boot(counting_guest())));
  worker.kernel_log(1000);
  const auto children = children_of(worker.pid());
  REQUIRE(children.size() == 1);
  const pid_t starter = children[0];
  const uint64_t own = kib_of(starter, "Private_Clean") + kib_of(starter, "Private_Dirty");
  MESSAGE("the starter's own memory: ", own, " KiB of ", kib_of(starter, "Rss"), " KiB");
  CHECK(own < 100);
  size_t files = 0;
  for ([[maybe_unused]] const auto& file :
       std::filesystem::directory_iterator("/proc/" + std::to_string(starter) + "/fd")) {
    ++files;
  }
  CHECK(files == 6);
  REQUIRE(::kill(worker.pid(), SIGKILL) == 0);
  CHECK(ended_within(starter, milliseconds(5000)));
}

TEST_CASE("net: a worker that ends leaves no orphan behind") {
  REQUIRE(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
  {
    WorkerProcess worker;
    worker.shape(kWithNet);
    REQUIRE(std::holds_alternative<wire::OkReply>(worker.boot(counting_guest())));
    const auto children = children_of(worker.pid());
    REQUIRE(children.size() == 1);
    worker.owner().call_for<wire::OkReply>(wire::TerminateRequest{});
    REQUIRE(worker.wait_exit());
    CHECK_FALSE(std::filesystem::exists("/proc/" + std::to_string(children[0])));
  }
  REQUIRE(::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0);
}

TEST_CASE("net: a network device is saved and restored") {
  WorkerProcess source;
  source.shape(kWithNet);
  source.network = wire::NetworkKind::user;
  REQUIRE(std::holds_alternative<wire::OkReply>(source.boot(counting_guest())));
  source.kernel_log(10);
  const base::Fd memory = memory_file();
  const base::Fd state = memory_file();
  source.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                               {memory.get(), state.get()});
  for (const auto kind : {wire::NetworkKind::none, wire::NetworkKind::user}) {
    WorkerProcess clone;
    clone.shape(kWithNet);
    clone.network = kind;
    const auto reply = clone.restore(memory.get(), state.get());
    REQUIRE(std::holds_alternative<wire::OkReply>(reply));
    clone.kernel_log(20);
    CHECK(clone.owner().call_for<wire::InfoReply>(wire::InfoRequest{}).net == wire::NetCounters{});
  }
  WorkerProcess without;
  without.shape({});
  CHECK(std::holds_alternative<wire::ErrorReply>(without.restore(memory.get(), state.get())));
}
