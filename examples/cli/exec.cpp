#include "command.hpp"
#include "options.hpp"
#include "output.hpp"
#include "run_program.hpp"

namespace cli {

int exec(const Context& context, const Arguments& arguments) {
  const auto split = split_at_first_word(
      arguments, {"-e", "--env", "-w", "--workdir", "-u", "--user", "--timeout"});
  OptionParser parser(
      "exec", "[OPTIONS] ID COMMAND [ARGUMENT…]", "Run a command in a microVM.",
      "Exit status: the command's own, 128 + signal when a signal ended it, 127 when\n"
      "it was not found, 126 when it cannot be executed, 125 when microvm failed.");
  parser.value("e,env", "NAME=VALUE", "Set a variable; may be repeated")
      .value("w,workdir", "DIR", "Working directory (default: the image's)")
      .value("u,user", "USER", "User, by name or number, with :GROUP (default: the image's)")
      .flag("i,interactive", "Pass standard input on")
      .value("timeout", "SECONDS", "Kill the command after this time");
  if (!parser.parse(split.options)) return parser.exit_code();
  if (split.rest.size() < 2) return parser.wrong("give the microVM and the command");

  microvm::ExecOptions program;
  program.argv.assign(split.rest.begin() + 1, split.rest.end());
  program.env = parser.all("env");
  program.cwd = parser.get("workdir");
  program.user = parser.get("user");
  if (parser.has("timeout")) {
    const auto seconds = parse_count(parser.get("timeout"));
    if (!seconds || *seconds > 4'000'000) return parser.wrong("--timeout: not a number of seconds");
    program.timeout_ms = *seconds * 1000;
  }
  program.stdin_open = parser.has("interactive");

  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error(), kMicrovmFailed);
  auto vm = runtime->attach(split.rest[0]);
  if (!vm) return fail(vm.error(), kMicrovmFailed);
  return run_in_guest(*vm, program, context.cancel);
}

}  // namespace cli
