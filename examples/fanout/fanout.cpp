// Many microVMs from one that is ready: what they have in common is done once, then each fork goes
// on from there with its own part of the work.
//   fanout [IMAGE [FORKS]]      the image needs python3; default: counter, 100
#include <microvm/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;

namespace {

template <class T>
T need(microvm::Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "fanout: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The last line a program prints, which must end well.
std::string output_of(microvm::Vm& vm, const std::string& script) {
  const auto result = need(vm.exec_collect({.argv = {"python3", "-c", script}}));
  if (result.status.code != 0) {
    std::fprintf(stderr, "fanout: in %s: %s", vm.id().c_str(), result.err.c_str());
    std::exit(1);
  }
  return result.out.substr(0, result.out.find('\n'));
}

// Of the process that holds it: memory it shares with others counts in parts.
double memory_mib(const microvm::Vm& vm) {
  const auto pid = std::to_string(need(vm.info()).worker_pid);
  std::ifstream smaps("/proc/" + pid + "/smaps_rollup");
  for (std::string word; smaps >> word;) {
    if (double kib = 0; word == "Pss:" && smaps >> kib) return kib / 1024;
  }
  return 0;
}

struct Part {
  std::string answer;
  double ms = 0;
};

// Each fork is asked by one of a few threads of ours.
std::vector<Part> ask_all(std::vector<microvm::Vm>& forks) {
  std::vector<Part> parts(forks.size());
  std::atomic<size_t> next{0};
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::max(2u, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (size_t n = next++; n < forks.size(); n = next++) {
        const auto start = Clock::now();
        const std::string script = "words = open('/tmp/words').read().split(); print(words[" +
                                   std::to_string(n) + "], __import__('socket').gethostname())";
        parts[n] = {output_of(forks[n], script), ms_since(start)};
      }
    });
  }
  threads.clear();  // joined
  return parts;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string image = argc > 1 ? argv[1] : "counter";
  const auto count = static_cast<uint32_t>(argc > 2 ? std::atoi(argv[2]) : 100);
  auto runtime = need(microvm::Runtime::open());
  auto source = need(runtime.run(image));
  output_of(source, "open('/tmp/words', 'w').write(' '.join(f'part-{n}' for n in range(1000)))");

  const auto start = Clock::now();
  auto forks = need(source.fork({.count = count}));
  const double forked_ms = ms_since(start);
  const auto parts = ask_all(forks);

  double all_mib = 0;
  std::printf("%5s  %-14s %9s %8s  %s\n", "fork", "id", "exec ms", "MiB", "its part, its hostname");
  for (size_t n = 0; n < forks.size(); ++n) {
    const double mib = memory_mib(forks[n]);
    all_mib += mib;
    std::printf("%5zu  %-14s %9.1f %8.1f  %s\n", n, forks[n].id().c_str(), parts[n].ms, mib,
                parts[n].answer.c_str());
  }
  std::printf("%u forks in %.0f ms, %.1f ms each; %.1f MiB each, beside %.1f MiB of their source\n",
              count, forked_ms, forked_ms / count, all_mib / count, memory_mib(source));
}  // the forks and their source end here
