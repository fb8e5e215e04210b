#include "fixture.hpp"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>

namespace guest_test {

namespace fs = std::filesystem;
using namespace microvm;

namespace {

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  REQUIRE_MESSAGE(value != nullptr, name, " is not set; test/run sets it");
  return value;
}

void run_command(const std::string& command) {
  REQUIRE_MESSAGE(std::system(command.c_str()) == 0, command);
}

std::string quoted(const fs::path& path) {
  return "'" + path.string() + "'";
}

// Kernel and base as test/run imported them outside: under emulation that takes minutes.
void copy_imported(const fs::path& data) {
  const fs::path store = from_environment("MICROVM_TEST_STORE");
  fs::create_directory(data);
  for (const char* part : {"kernels", "bases", "base-names"}) {
    run_command("cp -r --sparse=always " + quoted(store / part) + " " + quoted(data));
  }
}

// Where the first process of a machine leaves what it has built for those that come after it;
// empty: nowhere. Nobody else writes there: a test that damages its store, or dies in it, harms
// itself only.
fs::path shared_world() {
  const char* path = std::getenv("MICROVM_TEST_WORLD");
  return path != nullptr ? path : "";
}

// By links: no file of a store is changed in place.
void link_store(const fs::path& from, const fs::path& to) {
  fs::create_directory(to);
  for (const char* part : {"kernels", "bases", "base-names", "images"}) {
    run_command("cp -al " + quoted(from / part) + " " + quoted(to));
  }
}

void share_world(const fs::path& data) {
  const fs::path shared = shared_world();
  const fs::path partial = shared.string() + ".partial";
  fs::remove_all(partial);  // of one that died
  link_store(data, partial);
  fs::rename(partial, shared);
}

struct World {
  World() {
    RuntimeOptions options;
    options.data_dir = dir.path() / "data";
    options.log = [](std::string_view line) {
      std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
    };
    const bool built = fs::exists(shared_world());
    if (built) {
      link_store(shared_world(), options.data_dir);
    } else {
      copy_imported(options.data_dir);
    }
    auto opened = Runtime::open(options);
    REQUIRE_MESSAGE(opened, why(opened));
    runtime.emplace(std::move(*opened));
    if (built) return;
    build_counter();
    if (!shared_world().empty()) share_world(options.data_dir);
  }

  void build_counter() {
    BuildOptions build;
    build.context = MICROVM_COUNTER_APP;
    build.tag = "counter";
    build.memory_bytes = kGuestMemory;
    build.ready_timeout = std::chrono::minutes(3);  // of a rig on a host with much to do
    const auto image = runtime->build(build);
    REQUIRE_MESSAGE(image, why(image));
  }

  TempDir dir;
  std::optional<Runtime> runtime;
};

// Made once; when that fails, every other test says so at once.
World& world() {
  static bool tried = false;
  static std::optional<World> instance;
  if (!instance) {
    REQUIRE_MESSAGE(!tried, "the image could not be built, see the first failure");
    tried = true;
    instance.emplace();
  }
  return *instance;
}

std::string cli_command() {
  return "'" MICROVM_CLI "' --data-dir '" + data_dir().string() + "'";
}

// Of a shell's line, both its streams.
CliResult collect(const std::string& line) {
  FILE* pipe = ::popen(("exec 2>&1; " + line).c_str(), "r");
  REQUIRE(pipe != nullptr);
  CliResult result;
  std::array<char, 4096> buffer{};
  for (size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    result.out.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace

TempDir::TempDir() {
  std::string name = (fs::temp_directory_path() / "microvm-guest-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ec;
  fs::remove_all(path_, ec);
}

void TempDir::write(const std::string& name, const std::string& text) const {
  std::ofstream(path_ / name) << text;
}

Runtime& runtime() {
  return *world().runtime;
}

const fs::path& data_dir() {
  return runtime().data_dir();
}

RunningVm::~RunningVm() {
  if (!armed_) return;
  [[maybe_unused]] const auto ended = terminate();
  // The record of one that outlives its process stays until it is removed.
  [[maybe_unused]] const auto removed = runtime().remove_vm(id());
}

RunningVm run_counter(const RunOptions& options) {
  auto vm = runtime().run("counter", options);
  REQUIRE_MESSAGE(vm, why(vm));
  return RunningVm(std::move(*vm));
}

RunningVm run_detached() {
  RunOptions options;
  options.dies_with_owner = false;
  return run_counter(options);
}

SuspendTimes suspend(Vm& vm) {
  const auto times = vm.suspend();
  REQUIRE_MESSAGE(times, why(times));
  return *times;
}

ExecResult shell_result(Vm& vm, const std::string& script) {
  ExecOptions options;
  options.argv = {"/bin/sh", "-c", script};
  const auto result = vm.exec_collect(options);
  REQUIRE_MESSAGE(result, why(result));
  return *result;
}

std::string shell(Vm& vm, const std::string& script) {
  const auto result = shell_result(vm, script);
  INFO(result.err << result.status.message);
  REQUIRE(result.status.code == 0);
  return result.out;
}

std::vector<VmEvent> events_of(const std::string& vm_id) {
  std::vector<VmEvent> found;
  auto events = runtime().events();
  REQUIRE_MESSAGE(events, why(events));
  for (;;) {
    const auto event = events->next();
    REQUIRE_MESSAGE(event, why(event));
    if (!*event) return found;
    if (vm_id.empty() || (*event)->vm_id == vm_id) found.push_back(**event);
  }
}

std::string http_get(Vm& vm, const std::string& path) {
  const auto socket = vm.connect(kCounterPort);
  REQUIRE_MESSAGE(socket, why(socket));
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  REQUIRE(::send(*socket, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size()));
  std::string answer;
  std::array<char, 4096> buffer{};
  for (ssize_t got; (got = ::recv(*socket, buffer.data(), buffer.size(), 0)) > 0;) {
    answer.append(buffer.data(), static_cast<size_t>(got));
  }
  ::close(*socket);
  const size_t body = answer.find("\r\n\r\n");
  REQUIRE(body != std::string::npos);
  return answer.substr(body + 4);
}

fs::path image_dir(const std::string& name, const std::string& version) {
  return data_dir() / "images" / name / version;
}

std::string file_digest(const fs::path& path) {
  // By tar, which skips the holes: the base is 8 GiB of mostly nothing.
  const std::string command = "tar -cPSf - '" + path.string() + "' | sha256sum";
  FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 65> digest{};
  const size_t got = std::fread(digest.data(), 1, 64, pipe);
  REQUIRE(::pclose(pipe) == 0);
  REQUIRE(got == 64);
  return digest.data();
}

CliResult run_cli(const std::vector<std::string>& arguments) {
  std::string line = cli_command();
  for (const std::string& argument : arguments) line += " '" + argument + "'";
  return collect(line);
}

CliResult run_line(const std::string& line) {
  return collect("microvm() { timeout 60 " + cli_command() + " \"$@\"; }; " + line);
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

CliWords::CliWords(const std::vector<std::string>& arguments)
    : texts_{"microvm", "--data-dir", data_dir().string()} {
  texts_.insert(texts_.end(), arguments.begin(), arguments.end());
  for (std::string& text : texts_) words_.push_back(text.data());
  words_.push_back(nullptr);
}

void CliWords::execute() const {
  ::execv(MICROVM_CLI, words_.data());
  ::_exit(127);
}

pid_t start_cli(const std::vector<std::string>& arguments) {
  const CliWords words(arguments);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) words.execute();
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int status_within(pid_t child, double seconds) {
  int status = 0;
  const auto start = std::chrono::steady_clock::now();
  while (::waitpid(child, &status, WNOHANG) == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (std::chrono::steady_clock::now() - start < std::chrono::duration<double>(seconds)) continue;
    ::kill(child, SIGKILL);
    wait_for(child);
    return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

size_t count_workers() {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream comm(entry.path() / "comm");
    std::string name;
    std::getline(comm, name);
    if (name.starts_with("microvm-vmm") || name.starts_with("vm-")) ++count;
  }
  return count;
}

size_t entries_in(const fs::path& dir) {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (!entry.path().filename().string().starts_with('.')) ++count;
  }
  return count;
}

Holdings count_holdings() {
  REQUIRE(runtime().vms());  // lets go of what ended Vms still hold
  const auto images = runtime().images();
  REQUIRE_MESSAGE(images, why(images));
  return {count_workers(), entries_in("/proc/self/fd"), entries_in(data_dir() / "tmp"),
          entries_in(data_dir() / "vms"), images->size()};
}

Holdings settled_holdings() {
  Holdings last = count_holdings();
  const bool settled = eventually([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const Holdings previous = std::exchange(last, count_holdings());
    return previous == last;
  });
  CHECK(settled);
  return last;
}

std::string open_files() {
  std::string files;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    files += entry.path().filename().string() + " " +
             fs::read_symlink(entry.path(), gone).string() + "\n";
  }
  return files;
}

void check_nothing_left(const Holdings& before) {
  if (eventually([&] { return count_holdings() == before; })) return;
  INFO(open_files());
  CHECK(count_holdings() == before);
}

std::ostream& operator<<(std::ostream& out, const Holdings& holdings) {
  return out << holdings.workers << " workers, " << holdings.fds << " fds, "
             << holdings.temp_entries << " temp entries, " << holdings.vms << " vms, "
             << holdings.images << " images";
}

void copy_store(const fs::path& to, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const std::string command =
        "cp -a --sparse=always '" + (data_dir() / name).string() + "' '" + to.string() + "'";
    REQUIRE(std::system(command.c_str()) == 0);
  }
}

}  // namespace guest_test
