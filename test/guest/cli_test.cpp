// The CLI's own part: what it does with its output, its terminal, signals, its sockets; what it
// says; its commands that have no test with what they stand for.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <optional>
#include <sstream>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

size_t count_lines(const std::string& text) {
  return static_cast<size_t>(std::ranges::count(text, '\n'));
}

// The first line with both; empty: none.
std::string line_with(const std::string& text, const std::string& part, const std::string& other) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (has(line, part) && has(line, other)) return line;
  }
  return {};
}

// Whether a terminal's program of that name runs.
bool runs_on_terminal(Vm& vm, const std::string& name) {
  const auto infos = vm.ptys();
  return infos && std::ranges::any_of(*infos, [&](const PtyInfo& info) {
           return !info.ended && info.command.starts_with(name);
         });
}

void close_terminals(Vm& vm) {
  const auto infos = vm.ptys();
  REQUIRE_MESSAGE(infos, why(infos));
  for (const PtyInfo& info : *infos) {
    if (info.ended) continue;
    const auto closed = vm.close_pty(info.id);
    CHECK_MESSAGE(closed, why(closed));
  }
}

// The app logs each visit.
constexpr const char* kVisitors = R"(
nohup python3 -c '
import socket, time
while True:
    visitor = socket.create_connection(("127.0.0.1", 8080))
    visitor.sendall(b"GET / HTTP/1.0\r\n\r\n")
    while visitor.recv(4096):
        pass
    time.sleep(0.1)
' >/dev/null 2>&1 &
)";

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A socket of this host, connected to one of its ports if that listens.
class HostSocket {
 public:
  explicit HostSocket(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    REQUIRE(fd_ >= 0);
    const timeval patience{.tv_sec = 60, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const sockaddr_in address = loopback(port);
    static_cast<void>(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address));
  }
  ~HostSocket() { ::close(fd_); }
  HostSocket(const HostSocket&) = delete;
  HostSocket& operator=(const HostSocket&) = delete;

  // The app's answer; empty when there is none.
  [[nodiscard]] std::string ask() const {
    constexpr std::string_view kRequest = "GET /port HTTP/1.0\r\n\r\n";
    static_cast<void>(::send(fd_, kRequest.data(), kRequest.size(), MSG_NOSIGNAL));
    std::string answer;
    std::array<char, 4096> buffer{};
    for (ssize_t got; (got = ::recv(fd_, buffer.data(), buffer.size(), 0)) > 0;) {
      answer.append(buffer.data(), static_cast<size_t>(got));
    }
    return answer;
  }

 private:
  int fd_;
};

// Nobody listens on it now; below those that the kernel gives to who connects.
uint16_t free_port() {
  for (uint16_t port = 20000;; ++port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    const sockaddr_in address = loopback(port);
    const int bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::close(fd);
    if (bound == 0) return port;
  }
}

bool has_started(const std::string& vm_id) {
  const auto is_start = [](const VmEvent& event) { return event.kind == VmEvent::Kind::started; };
  return std::ranges::any_of(events_of(vm_id), is_start);
}

// What `run` in the foreground gives for a guest whose kernel is asked for this.
int run_until(const std::string& sysrq) {
  const pid_t foreground = start_cli({"run", "--name", "foreground", "counter"});
  std::optional<Vm> vm;
  REQUIRE(eventually([&] {
    const auto found = runtime().attach("foreground");
    if (found) vm = *found;
    return vm && has_started(vm->id());
  }));
  ExecOptions options;
  options.argv = {"sh", "-c", "echo " + sysrq + " > /proc/sysrq-trigger; sleep 1000"};
  CHECK_FALSE(vm->exec_collect(options, {}, {nullptr, std::chrono::seconds(60)}));
  return status_within(foreground, 30);
}

// What head shows of a command, and the command's status after that.
std::string first_line(const std::string& command) {
  return run_line("{ microvm " + command + "; echo status $? >&2; } | head -n 1").out;
}

void check_closed_output(Vm& vm) {
  CHECK(first_line("exec " + vm.id() + " yes") == "y\nstatus 141\n");
  CHECK(shell(vm,
              "for i in $(seq 100); do grep -qsx yes /proc/[0-9]*/comm || break; sleep 0.1; "
              "done; grep -sx yes /proc/[0-9]*/comm || echo gone") == "gone\n");
  // On a terminal it goes on without us, and that is said.
  const std::string terminal = first_line("exec -t " + vm.id() + " yes");
  INFO(terminal);
  CHECK(terminal.starts_with("y\r\n"));
  CHECK(has(terminal, "detached"));
  CHECK(has(terminal, "status 141\n"));
  CHECK(runs_on_terminal(vm, "yes"));
  close_terminals(vm);
}

void check_full_output(Vm& vm) {
  const auto raw = run_line("microvm exec " + vm.id() + " seq 1000000 > /dev/full");
  CHECK(raw.code == 125);
  CHECK(raw.out == "microvm: standard output: No space left on device\n");
  const auto printed = run_line("microvm ps > /dev/full");
  CHECK(printed.code == 1);
  CHECK(printed.out == raw.out);
}

void check_signal_on_terminal(Vm& vm) {
  const pid_t client = start_cli({"exec", "-t", vm.id(), "sleep", "1000"});
  REQUIRE(eventually([&] { return runs_on_terminal(vm, "sleep"); }));
  const auto listed = run_cli({"shell", "--list", "--json", vm.id()});
  CHECK(listed.code == 0);
  CHECK(has(listed.out, "\"command\": \"sleep 1000\""));
  REQUIRE(::kill(client, SIGTERM) == 0);
  CHECK(status_within(client, 5) == 125);
  CHECK(runs_on_terminal(vm, "sleep"));
  close_terminals(vm);
}

void check_forwarder(Vm& vm) {
  const uint16_t port = free_port();
  const pid_t forwarder =
      start_cli({"port", vm.id(), std::to_string(port) + ":" + std::to_string(kCounterPort)});
  REQUIRE(eventually([&] { return has(HostSocket(port).ask(), "in_memory"); }));

  // With one port to connect from, which the first connection has, the agent cannot make a second.
  const std::string range = "/proc/sys/net/ipv4/ip_local_port_range";
  shell(vm, "cat " + range + " > /tmp/range; echo 60000 60000 > " + range);
  const HostSocket first(port);
  shell(vm,
        "for i in $(seq 300); do grep -q ':EA60 0100007F:1F90 01 ' /proc/net/tcp && exit 0; "
        "sleep 0.1; done; exit 1");
  CHECK(HostSocket(port).ask().empty());
  shell(vm, "cat /tmp/range > " + range);
  CHECK(has(HostSocket(port).ask(), "in_memory"));
  CHECK(has(first.ask(), "in_memory"));

  REQUIRE(::kill(forwarder, SIGTERM) == 0);
  CHECK(status_within(forwarder, 5) == 0);
}

void check_logs(Vm& vm) {
  for (int i = 0; i < 3; ++i) http_get(vm, "/" + std::to_string(i));
  REQUIRE(eventually([&] { return has(*vm.logs(LogSource::app), "GET /2 HTTP/1.0\" 200 -\n"); }));
  const std::string last = run_cli({"logs", "-n", "2", vm.id()}).out;
  CHECK(count_lines(last) == 2);
  CHECK(has(last, "GET /1 "));
  CHECK(has(last, "GET /2 "));
  const std::string all = run_cli({"logs", vm.id()}).out;
  CHECK(has(all, "GET /0 "));
  CHECK(run_cli({"logs", "-n", "1000000", vm.id()}).out == all);

  shell(vm, kVisitors);
  const std::string followed = first_line("logs -f " + vm.id());
  INFO(followed);
  CHECK(has(followed, "counter: "));
  CHECK(has(followed, "status 141\n"));
  const std::string end = first_line("logs -f -n 1 " + vm.id());
  INFO(end);
  CHECK((has(end, "GET /2 ") || has(end, "GET / ")));
  const std::string new_ones = first_line("logs -f -n 0 " + vm.id());
  INFO(new_ones);
  CHECK(has(new_ones, "GET / "));
  CHECK(run_cli({"logs", "-n", "0", vm.id()}).out.empty());
}

}  // namespace

TEST_CASE("output that nobody takes, a signal and a failed connection end what they should") {
  RunningVm vm = run_counter();
  check_closed_output(vm);
  check_full_output(vm);
  check_signal_on_terminal(vm);
  check_forwarder(vm);
  check_logs(vm);
}

TEST_CASE("suspend, resume, stats, events, inspect and wait say what is") {
  RunningVm vm = run_detached();
  RunningVm other = run_detached();
  const std::string& id = vm.id();
  CHECK(run_cli({"suspend", id}).out == id + "\n");
  const std::string stats = run_cli({"stats"}).out;
  INFO(stats);
  CHECK_FALSE(line_with(stats, id, "suspended").empty());
  const std::string running = line_with(stats, other.id(), "running");
  CHECK(has(running, "192.0 MiB"));
  // Its memory; of the network nothing was used.
  CHECK_FALSE(has(running.substr(0, running.rfind("MiB")), " 0 B "));
  CHECK(has(run_cli({"stats", "--json"}).out, "\"memory_pss_bytes\": "));
  const auto kept = run_cli({"rm", id});
  CHECK(kept.code == 1);
  CHECK(has(kept.out, "is suspended"));
  CHECK(run_cli({"resume", id}).out == id + "\n");
  CHECK(vm.info()->state == VmState::running);

  const std::string events = run_cli({"events"}).out;
  for (const char* kind : {"started", "suspended", "resumed"}) {
    INFO(kind);
    CHECK_FALSE(line_with(events, id, kind).empty());
  }
  CHECK(has(run_cli({"events", "--json"}).out, "\"vm\":\"" + id + "\",\"event\":\"resumed\""));

  CHECK(has(run_cli({"inspect", id}).out, "\"counters\""));
  CHECK(has(run_cli({"inspect", "none"}).out, "no microvm and no image none"));
  // As one that is being launched.
  const auto launched = data_dir() / "vms" / (id.substr(0, 11) + (id.back() == '0' ? "1" : "0"));
  REQUIRE(std::filesystem::create_directory(launched));
  for (const auto& command : {std::vector<std::string>{"inspect", id.substr(0, 11)},
                              std::vector<std::string>{"commit", id.substr(0, 11), "never"}}) {
    const auto ambiguous = run_cli(command);
    CHECK(ambiguous.code == 1);
    CHECK(has(ambiguous.out, "2 ids begin like this"));
  }
  std::filesystem::remove(launched);

  const pid_t waiting = start_cli({"wait", id, other.id()});
  REQUIRE(vm.terminate());
  REQUIRE(other.terminate());
  CHECK(status_within(waiting, 20) == 0);
  CHECK(count_lines(run_cli({"wait", id, other.id()}).out) == 2);
  const auto partly = run_cli({"wait", "none", id});
  CHECK(partly.code == 1);
  CHECK(partly.out.starts_with("microvm: no microvm none\n"));
  CHECK(count_lines(partly.out) == 2);
  CHECK(run_cli({"rm", id, other.id()}).code == 0);
}

TEST_CASE("run gives the command's status or the guest's end, and takes what exec takes") {
  const auto ran = run_cli({"run", "-e", "A=b", "-w", "/tmp", "-u", "nobody", "counter", "--", "sh",
                            "-c", "echo $A; pwd; id -un; exit 7"});
  CHECK(ran.out == "b\n/tmp\nnobody\n");
  CHECK(ran.code == 7);
  CHECK(run_until("o") == 0);
  CHECK(run_until("c") == 1);
}

TEST_CASE("a wrong line is 2 and names the help") {
  const std::vector<std::vector<std::string>> lines = {
      {"run"},
      {"run", "-e", "A=b", "counter"},
      {"run", "-d", "counter", "true"},
      {"run", "-d", "-t", "counter"},
      {"run", "-d", "--rm", "counter"},
      {"wait"},
      {"logs"},
      {"logs", "-n", "few", "vm"},
      {"shell", "--json", "vm"},
      {"shell", "--read-only", "vm"},
      {"exec", "vm"},
      {"exec", "-t", "--timeout", "3", "vm", "true"},
      {"port", "vm", "8080"},
      {"inspect", "one", "two"},
      {"events", "--no-such-option"},
  };
  for (const auto& line : lines) {
    const auto result = run_cli(line);
    CAPTURE(result.out);
    CHECK(result.code == 2);
    CHECK(has(result.out, "see microvm " + line[0] + " --help"));
  }
}
