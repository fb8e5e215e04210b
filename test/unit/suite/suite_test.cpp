// The suites' own main program, and how test/run counts what it prints.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>

#include "suite/paths.hpp"
#include "unit/host/temp_dir.hpp"

using microvm::test::TempDir;

namespace {

struct Ran {
  int status = -1;
  std::string out;

  [[nodiscard]] bool says(const std::string& text) const {
    return out.find(text) != std::string::npos;
  }
};

Ran run(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 4096> buffer{};
  for (size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    ran.out.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) ran.status = WEXITSTATUS(status);
  return ran;
}

Ran run_sample(const std::string& options) {
  Ran ran = run(SUITE_SAMPLE " " + options);
  INFO(ran.out);
  return ran;
}

// What test/run makes of a suite's output and status: "PASSED FAILED SKIPPED".
std::string counted(const std::string& command, const std::string& place = "direct") {
  const TempDir dir;
  const std::string output = (dir / "output").string();
  return run("bash -c '. " SUITE_SOURCE_DIR "/results.sh; status=0; (" + command + ") >" + output +
             " 2>&1 || status=$?; count_results " + output + "; judge_suite sample $status " +
             output + " " + place + " 2>/dev/null; echo $passed $failed $skipped'")
      .out;
}

}  // namespace

TEST_SUITE("suite") {
  TEST_CASE("a case that hangs or crashes is one named failure, and the others run") {
    const Ran ran = run_sample("");
    INFO(ran.out);
    CHECK(ran.status == 1);
    CHECK(ran.says("[doctest] test cases: 11 | 2 passed | 8 failed | 1 skipped\n"));
    CHECK(ran.says("[doctest] assertions: 4 | 2 passed | 2 failed |\n"));
    CHECK(ran.says("[failed] fails ("));
    CHECK(ran.says("): a check failed\n"));
    CHECK(ran.says(": threw: thrown\n"));
    CHECK(ran.says("[failed] crashes ("));
    CHECK(ran.says(": crashed: SIGSEGV"));
    CHECK(ran.says("[failed] is killed ("));
    CHECK(ran.says(": crashed by signal 9 (Killed)\n"));
    CHECK(ran.says(": ended the process with status 0\n"));
    CHECK(ran.says("[failed] leaves a file and a process, and hangs ("));
    CHECK(ran.says(": hung: not done within 0.5 s\n"));
    CHECK(ran.says("ERROR: CHECK( 1 == 2 ) is NOT correct!"));
  }

  TEST_CASE("what a case has left behind when it was killed is taken away") {
    const TempDir dir;
    const std::string record = (dir / "pid").string();
    const Ran ran = run("TMPDIR=" + dir.path().string() + " SUITE_SAMPLE_PID=" + record +
                        " " SUITE_SAMPLE " -tc='leaves*'");
    CHECK(ran.status == 1);
    pid_t left = 0;
    std::ifstream(record) >> left;
    REQUIRE(left > 0);
    CHECK(::kill(left, 0) != 0);
    CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);  // the record
  }

  TEST_CASE("doctest's own options mean what they did") {
    CHECK(run_sample("-tc='passes*'").status == 0);
    CHECK(run_sample("-tc='passes*'").says("test cases: 2 | 2 passed | 0 failed | 0 skipped\n"));
    CHECK(run_sample("-sf='*sample*' -tce='*hang*'").says("test cases: 9 | 2 passed | 6 failed"));
    CHECK(run_sample("-sfe='*sample*'").says("test cases: 0 |"));
    CHECK(run_sample("-tc=fails -s").says("TEST CASE:  fails"));
    CHECK(run_sample("-tc=passes -d").says(" s: passes\n"));
    const Ran list = run_sample("-ltc");
    CHECK(list.status == 0);
    CHECK(list.says("\npasses after all that\n"));
    CHECK_FALSE(list.says("test cases:"));
    CHECK(run_sample("--in-process -tc=passes").says("1 passed"));
  }

  TEST_CASE("test/run counts what hangs, crashes and skips") {
    CHECK(counted(SUITE_SAMPLE " -tc=passes") == "1 0 0\n");
    CHECK(counted(SUITE_SAMPLE " -tc=passes,crashes,leaves*") == "1 2 0\n");
    // The machine's fault or the suite's: nothing ran, or it failed without a failed case.
    CHECK(counted(SUITE_SAMPLE " -tc=none") == "0 1 0\n");
    CHECK(counted(SUITE_SAMPLE " -tc=passes; exit 3") == "1 1 0\n");
    CHECK(counted("exit 124") == "0 1 0\n");
    CHECK(counted("echo 7 passed, 0 failed, 0 skipped") == "7 0 0\n");
  }

  TEST_CASE("test/run fails what is skipped though this machine can run it") {
    const std::string one_passed = SUITE_SAMPLE " -tc=passes; echo \"[skipped] a (f:1): ";
    const std::string one_skipped =
        "\"; echo \"[doctest] test cases: 1 | 0 passed | 0 failed | 1 skipped\"";
    CHECK(counted(SUITE_SAMPLE " -tc=passes,skips") == "1 1 0\n");
    const bool root = ::geteuid() == 0;
    CHECK(counted(one_passed + "needs root: only it can be another" + one_skipped) ==
          (root ? "1 1 0\n" : "1 0 1\n"));
    const std::string rig = one_passed + "needs the rig: it sets the clock" + one_skipped;
    CHECK(counted(rig) == "1 0 1\n");
    CHECK(counted(rig, "rig") == "1 1 0\n");
  }
}
