// The main job of the library, on real parts: a Dockerfile becomes an image that is snapshotted
// when its app is ready, three microVMs start from that snapshot at once, and each is its own
// machine.
//   quickstart DATA_DIRECTORY APP_DIRECTORY
// A kernel and the base image debian:bookworm are in the data directory already: `microvm kernel
// fetch` and `microvm base import` put them there, examples/quickstart/run does both.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "microvm/runtime.hpp"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kVmCount = 3;
constexpr uint64_t kMemoryBytes = 128ull << 20;
constexpr uint16_t kPort = 8080;

struct Row {
  std::string step;
  double ms = 0;
};
std::vector<Row> table;

template <class T>
T need(microvm::Result<T> result) {
  if (result) {
    if constexpr (std::is_void_v<T>)
      return;
    else
      return std::move(*result);
  }
  std::fprintf(stderr, "quickstart: %s\n", result.error().message.c_str());
  std::exit(1);
}

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Does the work, notes how long it took and gives its result.
template <class F>
auto timed(const std::string& step, F&& work) {
  std::printf("== %s\n", step.c_str());
  std::fflush(stdout);
  const auto start = Clock::now();
  auto result = work();
  table.push_back({step, ms_since(start)});
  return result;
}

// One HTTP request over a stream into the guest.
std::string http_get(microvm::Vm& vm) {
  const int fd = need(vm.connect(kPort));
  static constexpr char kRequest[] = "GET / HTTP/1.0\r\nHost: counter\r\n\r\n";
  std::string answer;
  if (write(fd, kRequest, sizeof kRequest - 1) > 0) {
    std::array<char, 4096> buffer{};
    for (ssize_t n = 0; (n = read(fd, buffer.data(), buffer.size())) > 0;) {
      answer.append(buffer.data(), static_cast<size_t>(n));
    }
  }
  close(fd);
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "no answer\n" : answer.substr(body + 4);
}

std::vector<microvm::Vm> launch_together(microvm::Runtime& runtime, const std::string& image) {
  std::vector<std::thread> threads;
  std::vector<microvm::Result<microvm::Vm>> results;
  for (int i = 0; i < kVmCount; ++i) {
    results.emplace_back(tl::unexpected(microvm::Error{}));
  }
  for (auto& result : results) {
    threads.emplace_back([&runtime, &image, &result] { result = runtime.run(image); });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<microvm::Vm> vms;
  for (auto& result : results) vms.push_back(need(std::move(result)));
  return vms;
}

// The first Vm is asked three times, the second twice, the third once: the counts go apart.
void show_divergence(std::vector<microvm::Vm>& vms) {
  int requests = kVmCount;
  for (microvm::Vm& vm : vms) {
    std::string last;
    for (int i = 0; i < requests; ++i) last = http_get(vm);
    std::printf("   %s after %d request(s): %s", vm.id().c_str(), requests, last.c_str());
    --requests;
  }
}

microvm::ExitStatus run_command(microvm::Vm& vm) {
  microvm::ExecOptions options;
  options.argv = {"/bin/sh", "-c",
                  "uname -sr; for i in 1 2 3; do echo line $i; sleep 0.1; done; exit 7"};
  auto exec = need(vm.exec(options));
  while (auto piece = need(exec.read())) {
    std::printf("   | %.*s", static_cast<int>(piece->data.size()),
                reinterpret_cast<const char*>(piece->data.data()));
    std::fflush(stdout);
  }
  return need(exec.wait());
}

microvm::ImageInfo build(microvm::Runtime& runtime, const char* app) {
  microvm::BuildOptions options;
  options.context = app;
  options.tag = "counter";
  options.memory_bytes = kMemoryBytes;
  options.progress = [](const microvm::Progress& progress) {
    if (progress.output.empty()) {
      std::printf("   %s\n", progress.step.c_str());
    } else {
      std::fwrite(progress.output.data(), 1, progress.output.size(), stdout);
    }
    std::fflush(stdout);
  };
  return need(runtime.build(options));
}

// Every run builds one more version. Only one that a microVM still runs from has to stay.
void remove_older(microvm::Runtime& runtime, const microvm::ImageInfo& newest) {
  for (const microvm::ImageInfo& image : need(runtime.images())) {
    if (image.name != newest.name || std::stoul(image.version) >= std::stoul(newest.version)) {
      continue;
    }
    const std::string reference = image.name + ":" + image.version;
    const auto removed = runtime.remove_image(reference);
    std::printf("   %s %s\n", reference.c_str(),
                removed ? "from an earlier run is removed" : removed.error().message.c_str());
  }
}

void print_table(const microvm::ImageInfo& image,
                 const std::vector<microvm::LaunchTimes>& launches) {
  std::printf("\n%-52s %10s\n", "step", "ms");
  for (const Row& row : table) std::printf("%-52s %10.1f\n", row.step.c_str(), row.ms);
  std::printf("%-52s %10llu\n", "of the build: cold boot until the agent was ready",
              static_cast<unsigned long long>(image.boot_ms));
  for (const microvm::LaunchTimes& times : launches) {
    std::printf("%-52s %10.1f\n", "of the launch: one microVM until its app runs again",
                static_cast<double>(times.ready_us) / 1000.0);
  }
  std::printf("\nimage %s:%s: %llu MiB memory, of which %.1f MiB are stored\n", image.name.c_str(),
              image.version.c_str(), static_cast<unsigned long long>(image.memory_bytes >> 20),
              static_cast<double>(image.memory_data_bytes) / (1 << 20));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: quickstart DATA_DIRECTORY APP_DIRECTORY\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  microvm::RuntimeOptions options;
  options.data_dir = argv[1];
  auto runtime = need(microvm::Runtime::open(options));

  const auto image = timed("build counter from its Dockerfile and snapshot it",
                           [&] { return build(runtime, argv[2]); });
  auto vms =
      timed("launch three microVMs at once", [&] { return launch_together(runtime, image.name); });
  std::vector<microvm::LaunchTimes> launches;
  for (const microvm::Vm& vm : vms) launches.push_back(vm.launch_times());

  timed("six HTTP requests", [&] {
    show_divergence(vms);
    return 0;
  });
  const auto status = timed("run a command in the first", [&] { return run_command(vms.front()); });
  std::printf("   exit code %d\n", status.code);
  timed("terminate all", [&] {
    for (microvm::Vm& vm : vms) need(vm.terminate());
    return 0;
  });
  timed("remove the versions that earlier runs built", [&] {
    remove_older(runtime, image);
    return 0;
  });
  print_table(image, launches);
  return status.code == 7 ? 0 : 1;
}
