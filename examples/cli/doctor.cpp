#include <fmt/core.h>

#include "command.hpp"
#include "json.hpp"
#include "microvm/probe.hpp"
#include "options.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace cli {
namespace {

using State = microvm::Finding::State;

void print_findings(const std::vector<microvm::Finding>& findings) {
  for (const auto& finding : findings) {
    fmt::print("{:<8} {:<17} {}\n", microvm::finding_state_name(finding.state), finding.name,
               finding.is);
    if (!finding.advice.empty()) fmt::print("{:26} -> {}\n", "", finding.advice);
    if (!finding.cost.empty()) fmt::print("{:26}    left as it is: {}\n", "", finding.cost);
  }
}

// Scripts ask for .kvm.usable; the rest has one shape for all.
Json findings_to_json(const std::vector<microvm::Finding>& findings) {
  Json report = Json::object();
  for (const auto& finding : findings) {
    Json entry = {{"status", microvm::finding_state_name(finding.state)},
                  {"detail", finding.is},
                  {"advice", finding.advice},
                  {"cost", finding.cost}};
    if (finding.name == "kvm") {
      const bool usable = finding.state == State::ok;
      entry.set("usable", usable);
      entry.set("reason", usable ? "" : finding.is);
    }
    report.set(finding.name, entry);
  }
  return report;
}

bool kvm_is_usable(const std::vector<microvm::Finding>& findings) {
  for (const auto& finding : findings) {
    if (finding.name == "kvm" && finding.state != State::ok) return false;
  }
  return true;
}

std::string describe(const microvm::ProbeStep& step) {
  if (step.count == 0) return step.detail;
  if (step.p50_ms == 0) return fmt::format("{} {}", step.count, step.detail);
  return fmt::format("{} x {:.1f} ms, at most {:.1f}{}{}", step.count, step.p50_ms, step.most_ms,
                     step.detail.empty() ? "" : "; ", step.detail);
}

void print_report(const microvm::DeepReport& report) {
  fmt::print("{}, {} CPUs, {}, microcode {}, Linux {}\n",
             report.cpu_model.empty() ? "unknown processor" : report.cpu_model, report.cpus,
             human_size(report.memory_bytes), report.microcode.empty() ? "?" : report.microcode,
             report.kernel);
  for (const auto& [name, value] : report.kvm_parameters) fmt::print("  {}={}\n", name, value);
  fmt::print("\n");
  print_findings(report.findings);
  fmt::print("\n");
  for (const auto& step : report.steps) {
    fmt::print("{:<8} {:<33} {}\n", microvm::probe_step_state_name(step.state), step.name,
               describe(step));
  }
  fmt::print("\n{} in {:.1f} s\n", report.passed() ? "all well" : "not all well",
             static_cast<double>(report.took_ms) / 1000);
}

Json report_to_json(const microvm::DeepReport& report) {
  std::vector<Json> steps;
  for (const auto& step : report.steps) {
    steps.push_back({{"name", step.name},
                     {"status", microvm::probe_step_state_name(step.state)},
                     {"detail", step.detail},
                     {"count", step.count},
                     {"p50_ms", step.p50_ms},
                     {"max_ms", step.most_ms}});
  }
  return {{"host",
           {{"cpu_model", report.cpu_model},
            {"microcode", report.microcode},
            {"cpus", report.cpus},
            {"memory_bytes", report.memory_bytes},
            {"kernel", report.kernel},
            {"kvm_parameters", report.kvm_parameters}}},
          {"findings", findings_to_json(report.findings)},
          {"steps", steps},
          {"took_ms", report.took_ms},
          {"passed", report.passed()}};
}

int doctor_deep(const Context& context, OptionParser& parser) {
  microvm::DeepProbeOptions options;
  options.data_dir = context.runtime.data_dir;
  options.kernel_deb = parser.get("kernel");
  const auto seconds = parse_count(parser.get("timeout", "120"));
  if (!seconds) return parser.wrong("--timeout takes seconds");
  microvm::CallLimits limits = context.limits();
  limits.timeout = std::chrono::seconds(*seconds);
  auto report = [&] {
    ProgressPrinter progress;
    options.progress = progress.sink();
    return microvm::deep_probe(options, limits);
  }();
  if (!report) return fail(report.error());
  if (parser.has("json")) {
    print_json(report_to_json(*report));
  } else {
    print_report(*report);
  }
  return report->passed() ? kOk : kFailed;
}

}  // namespace

int doctor(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "doctor", "[--deep [--kernel DEB] [--timeout SECONDS]] [--json]",
      "Check what this host can do, and say what to change and what it costs to leave it.",
      "With --deep guests are run, in a directory of their own that is removed again: tiny ones\n"
      "with 1 to 8 vCPUs, then Linux with two, 20 clones of it and 20 suspends. It needs no root.\n"
      "The report has nothing of you in it, no names, paths or ids:\n"
      "send it with a question or where something failed.\n\n"
      "Exit status: 0 when microVMs run here, with --deep when all went well; 1 when not.");
  parser.flag("deep", "Run guests, and print a report to send");
  parser.value("kernel", "DEB", "With --deep: a Debian linux-image instead of the newest imported");
  parser.value("timeout", "SECONDS",
               "With --deep: what is not done by then is left out; 120 without");
  parser.flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  if (parser.has("deep")) return doctor_deep(context, parser);
  for (const char* option : {"kernel", "timeout"}) {
    if (parser.has(option)) return parser.wrong(fmt::format("--{} goes with --deep", option));
  }
  const auto findings =
      microvm::probe_host({.data_dir = context.runtime.data_dir}, context.limits());
  if (!findings) return fail(findings.error());
  if (parser.has("json")) {
    print_json(findings_to_json(*findings));
  } else {
    print_findings(*findings);
  }
  return kvm_is_usable(*findings) ? kOk : kFailed;
}

}  // namespace cli
