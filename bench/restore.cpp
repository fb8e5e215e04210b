// How long a launch takes until the first command in the microVM has been answered, with a worker
// from the pool and with one that is started for it; against the cold boot of the same image.
//   restore DATA_DIRECTORY IMAGE RUNS
#include <map>

#include "microvm/runtime.hpp"
#include "report.hpp"

namespace {

using bench::need;

enum class Pool { none, warm };

// By the name they are reported under.
using Figures = std::map<std::string, bench::Series>;

void add_phases(Figures& figures, const microvm::LaunchTimes& times) {
  figures["run_to_worker_us"].add(static_cast<double>(times.worker_us));
  figures["run_to_guest_us"].add(static_cast<double>(times.restore_us));
  figures["run_to_agent_us"].add(static_cast<double>(times.agent_us));
  figures["run_to_ready_us"].add(static_cast<double>(times.ready_us));
}

void first_exec(microvm::Vm& vm) {
  microvm::ExecOptions options;
  options.argv = {"true"};
  const auto result = need(vm.exec_collect(options));
  if (result.status.code != 0) bench::fail("true failed in the guest: " + result.status.message);
}

void launch_once(microvm::Runtime& runtime, const std::string& image, Figures& figures) {
  const auto start = bench::Clock::now();
  auto vm = need(runtime.run(image));
  first_exec(vm);
  figures["run_to_first_exec_ms"].add(bench::ms_since(start));
  add_phases(figures, vm.launch_times());
  const auto counters = need(vm.counters());
  figures["request_to_kvm_run_us"].add(static_cast<double>(counters.start_to_run_ns) / 1000);
  figures["exits_until_first_exec"].add(static_cast<double>(counters.exits));
  need(vm.terminate());
}

Figures measure(const std::string& data_dir, const std::string& image, uint32_t runs, Pool pool) {
  microvm::RuntimeOptions options;
  options.data_dir = data_dir;
  auto runtime = need(microvm::Runtime::open(options));
  Figures not_counted;  // the first launch also reads the image's files into the page cache
  launch_once(runtime, image, not_counted);
  Figures figures;
  for (uint32_t run = 0; run < runs; ++run) {
    if (pool == Pool::warm) need(runtime.warm(image, 1));
    launch_once(runtime, image, figures);
  }
  return figures;
}

bench::Json json_of(const Figures& figures) {
  bench::Json json;
  for (const auto& [name, series] : figures) json[name] = series.json();
  return json;
}

double first_exec_ms(const Figures& figures) {
  return figures.at("run_to_first_exec_ms").percentile(50);
}

microvm::ImageInfo image_info(const std::string& data_dir, const std::string& image) {
  microvm::RuntimeOptions options;
  options.data_dir = data_dir;
  return need(need(microvm::Runtime::open(options)).image(image));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) bench::fail("usage: restore DATA_DIRECTORY IMAGE RUNS");
  const uint32_t runs = bench::positive_number(argv[3]);
  const auto info = image_info(argv[1], argv[2]);
  bench::say("restore: " + std::string(argv[3]) + " launches, workers started for them");
  const Figures unpooled = measure(argv[1], argv[2], runs, Pool::none);
  bench::say("restore: " + std::string(argv[3]) + " launches, workers from the pool");
  const Figures pooled = measure(argv[1], argv[2], runs, Pool::warm);
  const auto boot_ms = static_cast<double>(info.boot_ms);
  bench::print_report("restore", {{"image", info.name + ":" + info.version},
                                  {"guest_memory_mib", info.memory_bytes >> 20},
                                  {"n", runs},
                                  {"pooled", json_of(pooled)},
                                  {"unpooled", json_of(unpooled)},
                                  {"cold_boot_ms", info.boot_ms},
                                  {"boot_to_pooled_ratio", boot_ms / first_exec_ms(pooled)},
                                  {"boot_to_unpooled_ratio", boot_ms / first_exec_ms(unpooled)}});
  return 0;
}
