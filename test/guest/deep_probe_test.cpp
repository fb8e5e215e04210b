// The deep probe on a host where Linux runs.
#include <algorithm>

#include "fixture.hpp"
#include "microvm/probe.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

const ProbeStep& step(const DeepReport& report, const std::string& name) {
  const auto found = std::ranges::find(report.steps, name, &ProbeStep::name);
  REQUIRE_MESSAGE(found != report.steps.end(), name);
  return *found;
}

std::string text_of(const DeepReport& report) {
  std::string text;
  for (const Finding& each : report.findings) text += each.is + each.advice + each.cost + "\n";
  for (const ProbeStep& each : report.steps) text += each.name + ": " + each.detail + "\n";
  return text;
}

}  // namespace

TEST_CASE("the deep probe does all it says, and leaves nothing behind") {
  runtime();  // with a kernel
  const TempDir scratch;
  DeepProbeOptions options;
  options.data_dir = data_dir();
  options.scratch_dir = scratch.path();
  options.clones = 3;
  options.suspends = 2;
  const size_t workers = count_workers();
  const auto report = deep_probe(options, {nullptr, std::chrono::minutes(8)});
  REQUIRE_MESSAGE(report, why(report));
  INFO(text_of(*report));
  CHECK(report->passed());
  for (const char* name : {"tiny guest, vcpus 1", "tiny guest, vcpus 8", "boot",
                           "boot and snapshot", "clones", "forks", "checkpoints", "resumes"}) {
    INFO(std::string(name));
    CHECK(step(*report, name).state == ProbeStep::State::passed);
    CHECK(step(*report, name).count > 0);
  }
  CHECK(step(*report, "clones").count == 3);
  CHECK(step(*report, "clones").p50_ms > 0);
  CHECK(step(*report, "resumes").count == 2);
  CHECK(std::filesystem::is_empty(scratch.path()));
  CHECK(count_workers() == workers);
  CHECK(text_of(*report).find(data_dir().string()) == std::string::npos);
  CHECK(text_of(*report).find(scratch.path().string()) == std::string::npos);
}

TEST_CASE("the deep probe ends when it is told to, wherever it is") {
  const TempDir scratch;
  DeepProbeOptions options;
  options.data_dir = data_dir();
  options.scratch_dir = scratch.path();
  CancelToken cancel;
  options.progress = [&](const Progress& at) {
    if (at.step.starts_with("boot")) cancel.cancel();
  };
  const auto report = deep_probe(options, {&cancel, {}});
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::cancelled);
  CHECK(std::filesystem::is_empty(scratch.path()));
}

TEST_CASE("the deep probe says so when there is no kernel to boot") {
  const TempDir empty;
  DeepProbeOptions options;
  options.data_dir = empty.path() / "data";
  options.scratch_dir = empty.path();
  const auto report = deep_probe(options);
  REQUIRE_MESSAGE(report, why(report));
  CHECK(step(*report, "linux").state == ProbeStep::State::skipped);
  CHECK(step(*report, "linux").detail.find("no kernel") != std::string::npos);
  CHECK(report->passed());
  CHECK(std::filesystem::is_empty(empty.path()));
}
