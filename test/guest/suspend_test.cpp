// A Vm that sleeps: everything in it is as it was, whoever wakes it and however it came to sleep.
#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <span>
#include <thread>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

std::filesystem::path vm_dir(const Vm& vm) {
  return data_dir() / "vms" / vm.id();
}

// Files of the directory whose names begin so.
std::vector<std::filesystem::path> files_named(const Vm& vm, const std::string& prefix) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(vm_dir(vm))) {
    if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
  }
  return found;
}

// In the middle of the file's last data, where no header stands.
void flip_bit(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);
  off_t begin = 0;
  off_t end = 0;
  for (off_t at = 0; (at = ::lseek(fd, end, SEEK_DATA)) >= 0;) {
    begin = at;
    end = ::lseek(fd, at, SEEK_HOLE);
  }
  char byte = 0;
  const off_t middle = begin + (end - begin) / 2;
  REQUIRE(::pread(fd, &byte, 1, middle) == 1);
  byte = static_cast<char>(byte ^ 0x10);
  CHECK(::pwrite(fd, &byte, 1, middle) == 1);
  ::close(fd);
}

// A program that counts ten times a second in memory and shows it, with a connection to itself.
constexpr const char* kWitness = R"(
cat > /tmp/witness.py <<'PY'
import os, socket, time
server = socket.create_server(("127.0.0.1", 9000))
client = socket.create_connection(("127.0.0.1", 9000))
peer, _ = server.accept()
count = 0
while True:
    client.send(b"x")
    assert peer.recv(1) == b"x"
    count += 1
    with open("/tmp/count.new", "w") as out:
        out.write(f"{os.getpid()} {count} {time.monotonic():.2f}\n")
    os.rename("/tmp/count.new", "/tmp/count")
    time.sleep(0.1)
PY
nohup python3 /tmp/witness.py >/tmp/witness.log 2>&1 &
while ! test -e /tmp/count; do sleep 0.1; done
)";

// The kernel reads for it from memory whose faults nobody handles: it waits there for good, and
// until it is killed it does not come by where it would be frozen.
constexpr const char* kUnfreezable = R"(
cat > /tmp/stuck.py <<'PY'
import ctypes, fcntl, os, struct
USERFAULTFD, UFFDIO_API, UFFDIO_REGISTER, MISSING = 323, 0xc018aa3f, 0xc020aa00, 1
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
page = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_size_t(0))
faults = libc.syscall(USERFAULTFD, os.O_CLOEXEC)
assert faults >= 0, os.strerror(ctypes.get_errno())
fcntl.ioctl(faults, UFFDIO_API, bytearray(struct.pack("QQQ", 0xaa, 0, 0)))
fcntl.ioctl(faults, UFFDIO_REGISTER, bytearray(struct.pack("QQQQ", page, 4096, MISSING, 0)))
with open("/dev/shm/stuck", "w") as out:
    out.write(str(os.getpid()))
place, there = ctypes.create_string_buffer(8), ctypes.c_ulong
local = (there * 2)(ctypes.addressof(place), 8)
libc.process_vm_readv(os.getpid(), local, there(1), (there * 2)(page, 8), there(1), there(0))
PY
nohup python3 /tmp/stuck.py >/tmp/stuck.log 2>&1 &
for i in $(seq 50); do
  grep -q '^State:.D' "/proc/$(cat /dev/shm/stuck)/status" && exit 0
  sleep 0.1
done 2>/dev/null
cat /tmp/stuck.log
exit 1
)";
constexpr const char* kStillWaits =
    "grep -q '^State:.D' /proc/$(cat /dev/shm/stuck)/status && echo waits";

struct Witness {
  int pid = 0;
  long count = 0;
  double monotonic = 0;
};

Witness read_witness(Vm& vm) {
  Witness witness;
  const std::string text = shell(vm, "cat /tmp/count");
  REQUIRE(std::sscanf(text.c_str(), "%d %ld %lf", &witness.pid, &witness.count,
                      &witness.monotonic) == 3);
  return witness;
}

void check_goes_on(Vm& vm, const Witness& before) {
  Witness after = read_witness(vm);
  for (int i = 0; i < 100 && after.count <= before.count; ++i) after = read_witness(vm);
  CHECK(after.pid == before.pid);
  CHECK(after.count > before.count);
  CHECK(shell(vm, "cat /tmp/witness.log") == "");
}

// A full-screen program: at each key it draws its whole screen anew.
constexpr const char* kScreen = R"(
import curses
def main(screen):
    keys = 0
    while True:
        rows, columns = screen.getmaxyx()
        screen.clear()
        screen.border()
        screen.addstr(rows - 2, 1, f"{keys} keys on {rows} by {columns}")
        screen.refresh()
        if screen.getch() != curses.KEY_RESIZE:
            keys += 1
curses.wrapper(main)
)";

// Comes back to the terminal, presses a key and reads until the screen says so.
void press_key(Vm& vm, const std::string& terminal, int keys_so_far, PtySize size) {
  constexpr CallLimits kPatience{.cancel = nullptr, .timeout = std::chrono::seconds(60)};
  auto pty = vm.attach_pty(terminal, {.size = size}, kPatience);
  REQUIRE_MESSAGE(pty, why(pty));
  REQUIRE(pty->write(std::as_bytes(std::span("k", 1)), kPatience));
  const std::string expected = std::to_string(keys_so_far + 1) + " keys on " +
                               std::to_string(size.rows) + " by " + std::to_string(size.columns);
  std::string out;
  while (out.find(expected) == std::string::npos) {
    const auto output = pty->read(kPatience);
    REQUIRE_MESSAGE(output, why(output), " after ", out);
    REQUIRE(*output);
    out.append(reinterpret_cast<const char*>((*output)->data.data()), (*output)->data.size());
  }
}

}  // namespace

TEST_CASE("a suspended vm is files only, and goes on where it was") {
  RunningVm vm = run_counter();
  shell(vm, kWitness);
  shell(vm, "echo kept > /root/kept; echo unsynced > /dev/shm/note");
  const std::string identity =
      shell(vm, "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id");
  http_get(vm, "/");
  const std::string counted = http_get(vm, "/");
  const Witness before = read_witness(vm);
  const auto worker = static_cast<pid_t>(vm.info()->worker_pid);

  const SuspendTimes times = suspend(vm);
  CHECK(times.changed_bytes > 0);
  CHECK(times.stored_bytes > 0);
  CHECK(times.stored_bytes < times.changed_bytes);
  CHECK(vm.info()->state == VmState::suspended);
  CHECK(::kill(worker, 0) != 0);
  CHECK_MESSAGE(vm.suspend(), "one that sleeps stays asleep");
  std::this_thread::sleep_for(std::chrono::seconds(5));

  check_goes_on(vm, before);  // by the first exec
  CHECK(vm.info()->state == VmState::running);
  CHECK(shell(vm, "cat /root/kept /dev/shm/note") == "kept\nunsynced\n");
  CHECK(shell(vm, "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id") == identity);
  CHECK(http_get(vm, "/") != counted);
  const auto now = static_cast<double>(std::time(nullptr));
  CHECK(std::abs(std::stod(shell(vm, "date +%s")) - now) < 3);
}

TEST_CASE("who subscribes hears of each change of a vm, with its cause and its cost") {
  std::mutex mutex;
  std::vector<VmEvent> heard;
  RuntimeOptions options;
  options.data_dir = data_dir();
  options.on_event = [&](const VmEvent& event) {
    const std::scoped_lock lock(mutex);
    heard.push_back(event);
  };
  {
    auto own = Runtime::open(options);
    REQUIRE_MESSAGE(own, why(own));
    auto started = own->run("counter");
    REQUIRE_MESSAGE(started, why(started));
    RunningVm vm(std::move(*started));
    shell(vm, "head -c 32000000 /dev/urandom > /dev/shm/large");
    REQUIRE(vm.suspend({.wait_durable = false}));
    // Again while it is on its way: refused, or nothing to do when it was that fast.
    const auto again = vm.suspend();
    if (!again) CHECK(again.error().code == ErrorCode::busy);
    shell(vm, "true");
    suspend(vm);
    REQUIRE(vm.resume());
    REQUIRE(vm.terminate());
  }
  using Kind = VmEvent::Kind;
  std::vector<std::pair<Kind, std::string>> told;
  for (const VmEvent& event : heard) {
    CHECK(event.took_us > 0);
    CHECK_FALSE(event.time.empty());
    // The first suspend may be taken back before it is through.
    if (event.kind != Kind::suspended) told.emplace_back(event.kind, event.cause);
  }
  const std::string call(kCauseCall);
  CHECK(told == std::vector<std::pair<Kind, std::string>>{{Kind::started, call},
                                                          {Kind::suspending, call},
                                                          {Kind::resumed, "exec"},
                                                          {Kind::suspending, call},
                                                          {Kind::resumed, call},
                                                          {Kind::terminated, call}});
}

TEST_CASE("a program that no freezer reaches delays a suspend, and fails a checkpoint") {
  RunningVm vm = run_counter();
  shell(vm, kUnfreezable);
  const SuspendTimes times = suspend(vm);
  CHECK(times.acknowledged_us >= 2'000'000);  // the time that a guest has for it
  CHECK(vm.info()->state == VmState::suspended);
  CHECK(shell(vm, kStillWaits) == "waits\n");

  const auto refused = vm.checkpoint();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::deadline_exceeded);
  CHECK(shell(vm, kStillWaits) == "waits\n");
  shell(vm, "kill -9 $(cat /dev/shm/stuck)");
  const auto taken = vm.checkpoint();
  CHECK_MESSAGE(taken, why(taken));
}

TEST_CASE("monotonic time does not jump over a sleep") {
  RunningVm vm = run_counter();
  const auto uptime = [&] { return std::stod(shell(vm, "cut -d' ' -f1 /proc/uptime")); };
  for (const bool durable : {true, false}) {
    INFO(durable);
    const double before = uptime();
    REQUIRE(vm.suspend({.wait_durable = durable}));
    const auto asleep = std::chrono::steady_clock::now();
    if (durable) std::this_thread::sleep_for(std::chrono::seconds(20));
    const double after = uptime();
    const std::chrono::duration<double> real = std::chrono::steady_clock::now() - asleep;
    CHECK(after >= before);
    if (durable) CHECK(after - before < real.count() - 10);
  }
}

TEST_CASE("a resume before the state is durable is served from memory") {
  RunningVm vm = run_counter();
  shell(vm, kWitness);
  const Witness before = read_witness(vm);
  const auto worker = vm.info()->worker_pid;
  REQUIRE(vm.suspend({.wait_durable = false}));
  REQUIRE(vm.resume());
  CHECK(vm.info()->state == VmState::running);
  CHECK(vm.info()->worker_pid == worker);
  check_goes_on(vm, before);
  suspend(vm);
  check_goes_on(vm, before);
}

TEST_CASE("a caller who gives up at any point leaves the vm running or asleep, and whole") {
  RunningVm vm = run_counter();
  shell(vm, kWitness);
  shell(vm, "head -c 8000000 /dev/urandom > /root/large; sha256sum /root/large > /dev/shm/sum");
  const Witness before = read_witness(vm);
  for (int i = 0; i < 8; ++i) {
    INFO(i);
    const CallLimits soon{.timeout = std::chrono::milliseconds(1 << i)};
    static_cast<void>(vm.suspend({}, soon));
    const auto first = std::to_string(i);
    CHECK(shell(vm, "echo " + first + " > /root/mark; cat /root/mark") == first + "\n");
    REQUIRE(vm.suspend({.wait_durable = false}));
    static_cast<void>(vm.resume({}, soon));
    CHECK(shell(vm, "cat /root/mark") == first + "\n");
  }
  suspend(vm);
  CHECK(shell(vm, "sha256sum -c /dev/shm/sum; cat /root/mark") == "/root/large: OK\n7\n");
  check_goes_on(vm, before);
}

TEST_CASE("many cycles write only what changed in each, and keep the chain short") {
  RunningVm vm = run_counter();
  shell(vm, kWitness);
  const Witness first = read_witness(vm);
  Witness last = first;
  shell(vm,
        "head -c 16000000 /dev/urandom > /dev/shm/large; sha256sum /dev/shm/large > /dev/shm/sum");
  const uint64_t all = suspend(vm).changed_bytes;
  for (int cycle = 0; cycle < 12; ++cycle) {
    INFO(cycle);
    last = read_witness(vm);
    const SuspendTimes times = suspend(vm);
    if (cycle == 0) CHECK(times.changed_bytes < all / 2);
    CHECK(files_named(vm, "pages-").size() <= 9);
    CHECK(files_named(vm, "state-").size() == 1);
  }
  check_goes_on(vm, last);
  CHECK(shell(vm, "sha256sum -c /dev/shm/sum") == "/dev/shm/large: OK\n");
}

TEST_CASE("the continuity of a vm over 200 suspensions") {
  RunningVm vm = run_counter();
  shell(vm, kWitness);
  shell(vm, "echo 0 > /root/cycles");
  REQUIRE(vm.pty({.argv = {"python3", "-c", kScreen}, .id = "screen"}));
  Witness last = read_witness(vm);
  for (int cycle = 1; cycle <= 200; ++cycle) {
    INFO(cycle);
    // Every tenth one goes through the disk, the rest wakes at some point of the way there.
    const auto slept = vm.suspend({.wait_durable = cycle % 10 == 0});
    REQUIRE_MESSAGE(slept, why(slept));
    if (cycle % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(cycle % 97));
    const auto cycles = std::to_string(cycle);
    const auto text =
        shell(vm, "c=$(cat /root/cycles); echo $((c+1)) > /root/cycles; cat /root/cycles");
    CHECK(text == cycles + "\n");
    if (cycle % 5 != 0) continue;
    const auto row = static_cast<uint16_t>(24 + cycle % 7);
    press_key(vm, "screen", cycle / 5 - 1, {.rows = row, .columns = 80});
    if (cycle % 20 != 0) continue;
    check_goes_on(vm, last);
    last = read_witness(vm);
  }
}

TEST_CASE("another process suspends and resumes a vm that outlives its owner") {
  RunningVm vm = run_detached();
  shell(vm, kWitness);
  const Witness before = read_witness(vm);
  REQUIRE(run_cli({"suspend", vm.id()}).code == 0);
  CHECK(vm.info()->state == VmState::suspended);
  CHECK(run_cli({"ps"}).out.find("suspended") != std::string::npos);
  CHECK(run_cli({"exec", vm.id(), "echo", "awake"}).out == "awake\n");
  CHECK(vm.info()->state == VmState::running);
  check_goes_on(vm, before);
  REQUIRE(run_cli({"suspend", vm.id()}).code == 0);
  check_goes_on(vm, before);
  // How it ended is told by the life it ended in, not by the one that we had to do with.
  suspend(vm);
  run_cli({"exec", vm.id(), "sh", "-c", "echo o > /proc/sysrq-trigger; sleep 1000"});
  REQUIRE(eventually([&] { return vm.info()->state == VmState::terminated; }));
  CHECK(vm.info()->end == VmEnd::powered_off);
}

TEST_CASE("several processes suspend and use a vm at once") {
  RunningVm vm = run_detached();
  shell(vm, kWitness);
  const Witness before = read_witness(vm);
  const auto all = [&](const std::vector<std::vector<std::string>>& calls) {
    std::vector<pid_t> children;
    for (const auto& arguments : calls) children.push_back(start_cli(arguments));
    for (const pid_t child : children) CHECK(wait_for(child) == 0);
  };
  for (int round = 0; round < 3; ++round) {
    INFO("round ", round);
    all({{"suspend", vm.id()}, {"suspend", vm.id()}});
    CHECK(vm.info()->state == VmState::suspended);
    const std::vector<std::string> exec = {"exec", vm.id(), "true"};
    all({exec, exec, exec, exec, exec, exec});
    const std::vector<std::string> checkpoint = {"checkpoint", "create", vm.id()};
    all({checkpoint, {"suspend", vm.id()}, checkpoint, {"suspend", vm.id()}});
  }
  // Whichever came last; asleep it is woken by this.
  check_goes_on(vm, before);
  CHECK(count_workers() == 1);
}

TEST_CASE("a worker killed after a resume leaves the last saved state, whole") {
  RunningVm vm = run_detached();
  shell(vm, kWitness);
  shell(vm, "echo one > /root/mark; sync");
  const Witness before = read_witness(vm);
  suspend(vm);
  shell(vm, "echo two > /root/mark; sync");
  REQUIRE(::kill(static_cast<pid_t>(vm.info()->worker_pid), SIGKILL) == 0);
  while (vm.info()->state == VmState::running) ::usleep(10'000);
  CHECK(vm.info()->state == VmState::suspended);
  CHECK(shell(vm, "cat /root/mark") == "one\n");
  check_goes_on(vm, before);
}

TEST_CASE("a damaged state is named and refused, and can be repaired") {
  RunningVm vm = run_counter();
  suspend(vm);
  for (const char* prefix : {"pages-", "state-", "disk-"}) {
    INFO(prefix);
    const auto path = files_named(vm, prefix).front();
    const auto good = path.parent_path() / "good";
    std::filesystem::rename(path, good);
    const std::string copy = "cp --sparse=always " + good.string() + " " + path.string();
    for (const bool cut : {true, false}) {
      INFO("cut ", cut);
      REQUIRE(std::system(copy.c_str()) == 0);
      if (cut) {
        std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
      } else {
        flip_bit(path);
      }
      const auto resumed = vm.resume();
      REQUIRE_FALSE(resumed);
      INFO(resumed.error().message);
      CHECK(resumed.error().code == ErrorCode::corrupt);
      // What the worker reads it knows by number only.
      if (std::string(prefix) != "state-")
        CHECK(resumed.error().message.find(path.filename().string()) != std::string::npos);
      CHECK(vm.info()->state == VmState::suspended);
    }
    std::filesystem::rename(good, path);
  }
  REQUIRE_MESSAGE(vm.resume(), "whole again");
  CHECK(shell(vm, "echo here") == "here\n");
}

TEST_CASE("terminate ends a vm that sleeps, and leaves nothing") {
  RunningVm vm = run_counter();
  suspend(vm);
  REQUIRE(vm.terminate());
  CHECK(vm.info()->state == VmState::terminated);
  CHECK_FALSE(std::filesystem::exists(vm_dir(vm)));
  CHECK(vm.resume().error().code == ErrorCode::vm_gone);
  CHECK(vm.suspend().error().code == ErrorCode::vm_gone);
}

TEST_CASE("an image is kept as long as a vm sleeps on it") {
  RunningVm vm = run_counter();
  suspend(vm);
  CHECK(runtime().remove_image("counter").error().code == ErrorCode::busy);
}
