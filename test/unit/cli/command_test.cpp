// The CLI as a process, on an empty data directory: what needs no microVM.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

#include "cli/cli_path.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;

namespace {

struct Ran {
  int code = 0;
  std::string printed;  // on either stream
};

class Cli {
 public:
  // A shell's arguments and redirections.
  Ran run(const std::string& line) {
    const std::string command =
        "{ " MICROVM_CLI " --data-dir '" + dir_.path().string() + "' " + line + "; } 2>&1";
    FILE* output = ::popen(command.c_str(), "r");
    REQUIRE(output != nullptr);
    Ran ran;
    std::array<char, 4096> piece{};
    for (size_t got; (got = std::fread(piece.data(), 1, piece.size(), output)) > 0;) {
      ran.printed.append(piece.data(), got);
    }
    const int status = ::pclose(output);
    ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return ran;
  }

 private:
  test::TempDir dir_;
};

bool contains(const Ran& ran, const std::string& text) {
  return ran.printed.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("cli: what -f removes may be missing, of every kind") {
  Cli cli;
  for (const std::string command : {"rm", "image rm", "base rm", "kernel rm", "checkpoint rm"}) {
    INFO(command);
    const Ran missing = cli.run(command + " nosuch other");
    CHECK(missing.code == 1);
    CHECK(contains(missing, "nosuch"));
    CHECK(cli.run(command + " -f nosuch other").code == 0);
    CHECK(cli.run(command + " -f").code == 2);
  }
}

TEST_CASE("cli: statuses are kept without standard streams") {
  Cli cli;
  CHECK(cli.run("ps <&- >&-").printed.empty());
  CHECK(cli.run("ps <&- >&- 2>&-").code == 0);
  CHECK(cli.run("rm nosuch <&- >&- 2>&-").code == 1);
  CHECK(cli.run("run <&- >&- 2>&-").code == 2);
  CHECK(cli.run("exec -i nosuch cat <&- >&- 2>&-").code == 125);
}

TEST_CASE("cli: wrong lines of exec, run and fork say what is wrong") {
  Cli cli;
  const std::array<std::array<std::string, 2>, 17> lines = {{
      {"exec -e =x vm env", "no name in"},
      {"exec --env-file /nowhere/env vm env", "/nowhere/env"},
      {"exec -d -t vm sh", "microvm shell"},
      {"exec -d --reattach vm sh", "exclude each other"},
      {"exec ls", "an argument is missing"},
      {"exec attach vm", "an argument is missing"},
      {"exec attach --sig-proxy=maybe vm 1", "not true or false"},
      {"exec attach --take-over --no-stdin vm 1", "exclude each other"},
      {"exec kill -s NOSUCH vm 1", "no such signal"},
      {"exec wait vm", "an argument is missing"},
      {"logs -n -1 vm", "not a number of lines"},
      {"run -d --lifetime 1h image", "nobody carries them out"},
      {"run -d --idle-after 1m image", "nobody carries them out"},
      {"run --lifetime 1 image", "not a time like"},
      {"run --start-timeout 0s image", "not a time like"},
      {"run --env-file /dev/null image", "are for a COMMAND"},
      {"fork --idle-after 1m vm", "idle-after"},
  }};
  for (const auto& [line, told] : lines) {
    const Ran ran = cli.run(line);
    INFO(line, ": ", ran.printed);
    CHECK(ran.code == 2);
    CHECK(contains(ran, told));
    CHECK(contains(ran, "--help"));
  }
}

TEST_CASE("cli: exec's commands are found, and others are microvms") {
  Cli cli;
  for (const std::string command : {"ls", "attach", "kill", "wait"}) {
    CHECK(contains(cli.run("exec " + command + " --help"), "microvm exec " + command));
    CHECK(contains(cli.run("exec -- " + command + " true"), "no microvm " + command));
  }
  CHECK(contains(cli.run("exec list true"), "no microvm list"));
  CHECK(contains(cli.run("exec --help"), "128 KiB each"));
}
