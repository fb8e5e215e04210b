// The guest's root disk against the file system it lies on: the same fio jobs in a microVM and on
// this machine, on a file in the data directory. With each job what a request cost, in counts:
// system calls and returns from KVM_RUN of the worker, interrupts of the guest.
//   block DATA_DIRECTORY IMAGE SECONDS_PER_JOB
// The image has fio in it. System calls are counted where the user may see the kernel's
// tracepoints.
#include <array>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "microvm/runtime.hpp"
#include "report.hpp"
#include "worker_counts.hpp"

namespace {

using bench::need;

constexpr char kFile[] = "bench.fio";

struct Job {
  const char* name;
  const char* kind;  // fio's --rw
  const char* block;
  int depth;
  const char* side;  // where fio reports it
};
constexpr std::array<Job, 6> kJobs{{{"random_read_4k_depth_1", "randread", "4k", 1, "read"},
                                    {"random_read_4k_depth_32", "randread", "4k", 32, "read"},
                                    {"random_write_4k_depth_1", "randwrite", "4k", 1, "write"},
                                    {"random_write_4k_depth_32", "randwrite", "4k", 32, "write"},
                                    {"sequential_read_1m", "read", "1m", 4, "read"},
                                    {"sequential_write_1m", "write", "1m", 4, "write"}}};

using Words = std::vector<std::string>;

Words fio(const std::string& directory) {
  return {"fio",        "--name=bench",        "--filename=" + directory + "/" + kFile,
          "--size=64m", "--ioengine=libaio",   "--direct=1",
          "--thread",   "--group_reporting=1", "--output-format=json"};
}

// Every block is there before it is measured, so a write is not the first to its place.
Words layout_command(const std::string& directory) {
  Words words = fio(directory);
  words.insert(words.end(), {"--rw=write", "--bs=1m", "--end_fsync=1"});
  return words;
}

Words job_command(const Job& job, const std::string& directory, const std::string& seconds) {
  Words words = fio(directory);
  words.insert(words.end(),
               {std::string("--rw=") + job.kind, std::string("--bs=") + job.block,
                "--iodepth=" + std::to_string(job.depth), "--time_based", "--runtime=" + seconds});
  return words;
}

std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string on_host(const Words& words) {
  std::string command;
  for (const std::string& word : words) command += quoted(word) + " ";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) bench::fail("cannot start fio");
  std::string out;
  std::array<char, 4096> buffer{};
  for (size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    out.append(buffer.data(), n);
  if (::pclose(pipe) != 0) bench::fail("fio failed on this machine: is it installed?");
  return out;
}

std::string in_guest(microvm::Vm& vm, const Words& words) {
  microvm::ExecOptions options;
  options.argv = words;
  const auto result = need(vm.exec_collect(options));
  if (result.status.code != 0) bench::fail("fio failed in the guest: " + result.err);
  return result.out;
}

// What the guest knows of its first disk.
struct DiskCounts {
  uint64_t requests = 0;
  uint64_t interrupts = 0;
};

// Reads, writes, discards and flushes: fields 1, 5, 12 and 16 of the kernel's block layer.
uint64_t requests_of(const std::string& stat) {
  std::istringstream fields(stat);
  uint64_t sum = 0;
  uint64_t value = 0;
  for (int field = 1; fields >> value; ++field) {
    if (field == 1 || field == 5 || field == 12 || field == 16) sum += value;
  }
  return sum;
}

DiskCounts disk_counts(microvm::Vm& vm) {
  const std::string device =
      in_guest(vm, {"sh", "-c", "basename $(readlink /sys/block/vda/device)"});
  return {requests_of(in_guest(vm, {"cat", "/sys/block/vda/stat"})),
          bench::interrupts_of(in_guest(vm, {"cat", "/proc/interrupts"}),
                               device.substr(0, device.find_last_not_of('\n') + 1))};
}

double percentile_us(const bench::Json& side, const char* percent) {
  return side["clat_ns"]["percentile"].value(percent, 0.0) / 1000;
}

bench::Json figures_of(const std::string& output, const Job& job) {
  const auto parsed = bench::Json::parse(output, nullptr, false);
  if (parsed.is_discarded()) bench::fail("fio did not print JSON: " + output.substr(0, 200));
  const auto& side = parsed["jobs"][0][job.side];
  return {{"n", side["total_ios"]},
          {"iops", side["iops"]},
          {"mib_per_s", side["bw_bytes"].get<double>() / (1 << 20)},
          {"latency_p50_us", percentile_us(side, "50.000000")},
          {"latency_p99_us", percentile_us(side, "99.000000")}};
}

// The guest's share of the job, and what each of its requests cost.
bench::Json measure_guest(microvm::Vm& vm, const Job& job, const std::string& seconds) {
  const auto before = disk_counts(vm);
  const uint64_t exits_before = need(vm.counters()).exits;
  const bench::SystemCalls calls(need(vm.info()).worker_pid);
  auto figures = figures_of(in_guest(vm, job_command(job, "/var/tmp", seconds)), job);
  const auto called = calls.count();
  const uint64_t exits = need(vm.counters()).exits - exits_before;
  const auto after = disk_counts(vm);
  const auto requests = static_cast<double>(after.requests - before.requests);
  const auto each = [&](uint64_t count) { return static_cast<double>(count) / requests; };
  figures["requests"] = after.requests - before.requests;
  figures["interrupts_each"] = each(after.interrupts - before.interrupts);
  figures["kvm_runs_each"] = each(exits);
  if (called) figures["system_calls_each"] = each(*called);
  return figures;
}

bench::Json measure(microvm::Vm& vm, const Job& job, const std::string& data_dir,
                    const std::string& seconds) {
  bench::say(std::string("block: ") + job.name);
  const auto host = figures_of(on_host(job_command(job, data_dir, seconds)), job);
  const auto guest = measure_guest(vm, job, seconds);
  const double ratio = guest["iops"].get<double>() / host["iops"].get<double>();
  return {{"io_depth", job.depth},
          {"guest", guest},
          {"host", host},
          {"guest_to_host_iops_ratio", ratio}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) bench::fail("usage: block DATA_DIRECTORY IMAGE SECONDS_PER_JOB");
  const std::string data_dir = argv[1];
  const std::string seconds = std::to_string(bench::positive_number(argv[3]));
  microvm::RuntimeOptions options;
  options.data_dir = data_dir;
  auto runtime = need(microvm::Runtime::open(options));
  const auto info = need(runtime.image(argv[2]));
  auto vm = need(runtime.run(argv[2]));
  bench::say("block: laying out the files");
  on_host(layout_command(data_dir));
  in_guest(vm, layout_command("/var/tmp"));
  bench::Json jobs;
  for (const Job& job : kJobs) jobs[job.name] = measure(vm, job, data_dir, seconds);
  std::filesystem::remove(std::filesystem::path(data_dir) / kFile);
  need(vm.terminate());
  bench::print_report("block", {{"image", info.name + ":" + info.version},
                                {"guest_memory_mib", info.memory_bytes >> 20},
                                {"seconds_per_job", bench::positive_number(argv[3])},
                                {"file_mib", 64},
                                {"direct", true},
                                {"jobs", jobs}});
  return 0;
}
