// Runs a job in a microVM of its own: files in, steps one after the other, artifacts out.
//   ci_runner JOB.toml
// Its exit code is that of the step that failed, else 0; 2: the job's file is wrong; 125: the
// microVM failed, or the job's time is over; 130: Ctrl-C. Nothing of the microVM is left.
#include <microvm/runtime.hpp>

#include <csignal>
#include <cstdio>
#include <string>

#include "job.hpp"

namespace {

constexpr int kMicrovmFailed = 125;
constexpr int kInterrupted = 130;

microvm::CancelToken interrupted;

// The library's error is ours: main() prints it. The Vm dies with the handle that unwinding drops.
struct Failed {
  microvm::Error error;
};

template <class T>
T need(microvm::Result<T> result) {
  if (!result) throw Failed{result.error()};
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// What is left of the job's time; for each call.
class Time {
 public:
  explicit Time(std::chrono::milliseconds all) : all_(all) {}
  [[nodiscard]] microvm::CallLimits left() const {
    using namespace std::chrono;
    if (all_.count() == 0) return {.cancel = &interrupted, .timeout = {}};
    const auto gone = duration_cast<milliseconds>(steady_clock::now() - start_);
    return {.cancel = &interrupted, .timeout = std::max(all_ - gone, milliseconds(1))};
  }

 private:
  const std::chrono::milliseconds all_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

int run_step(microvm::Vm& vm, const Step& step, const Job& job, const Time& time) {
  std::fprintf(stderr, "== %s\n", step.name.c_str());
  microvm::ExecOptions options;
  options.argv = {"/bin/sh", "-ec", step.run};
  options.env = job.env;
  options.cwd = step.workdir;
  auto program = need(vm.exec(options, time.left()));
  while (const auto piece = need(program.read(time.left()))) {
    const bool is_error = piece->stream == microvm::ExecOutput::Stream::err;
    std::FILE* to = is_error ? stderr : stdout;
    std::fwrite(piece->data.data(), 1, piece->data.size(), to);
    std::fflush(to);
  }
  const auto status = need(program.wait(time.left()));
  if (!status.message.empty()) std::fprintf(stderr, "%s\n", status.message.c_str());
  return status.signal != 0 ? 128 + status.signal : status.code;
}

int run_job(const Job& job, const std::filesystem::path& directory) {
  const Time time(job.timeout);
  auto runtime = need(microvm::Runtime::open({}, time.left()));
  auto vm = need(runtime.run(job.image, {}, time.left()));
  for (const Copy& copy : job.files) {
    need(vm.upload(directory / copy.from, copy.to, {}, time.left()));
  }
  int code = 0;
  for (const Step& step : job.steps) {
    code = run_step(vm, step, job, time);
    if (code == 0) continue;
    std::fprintf(stderr, "== %s failed: exit code %d\n", step.name.c_str(), code);
    break;
  }
  for (const Copy& copy : job.artifacts) {
    std::filesystem::create_directories(directory / copy.to);
    const auto copied = vm.download(copy.from, directory / copy.to, {}, time.left());
    // A step that failed may not have come to make it.
    if (!copied && (code == 0 || copied.error().code != microvm::ErrorCode::not_found)) {
      need(copied);
    }
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "usage: ci_runner JOB.toml\n");
    return 2;
  }
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    std::signal(signal, [](int) { interrupted.cancel(); });
  }
  const std::filesystem::path file = argv[1];
  return run_job(read_job(file), file.parent_path());
} catch (const JobError& error) {
  std::fprintf(stderr, "ci_runner: %s\n", error.what());
  return 2;
} catch (const Failed& failed) {
  std::fprintf(stderr, "ci_runner: %s\n", failed.error.message.c_str());
  return failed.error.code == microvm::ErrorCode::cancelled ? kInterrupted : kMicrovmFailed;
} catch (const std::exception& error) {
  std::fprintf(stderr, "ci_runner: %s\n", error.what());
  return kMicrovmFailed;
}
