#include "command.hpp"
#include "detach_keys.hpp"
#include "options.hpp"
#include "output.hpp"
#include "program_options.hpp"
#include "run_in_guest.hpp"
#include "run_terminal.hpp"

namespace cli {

int exec(const Context& context, const Arguments& arguments) {
  auto split = split_at_program(arguments, {"--timeout", "--detach-keys"});
  OptionParser parser(
      "exec", "[OPTIONS] ID [--] COMMAND [ARGUMENT…]", "Run a command in a microVM.",
      "SIGINT (Ctrl-C), SIGTERM and SIGHUP are passed on to the command; a second one kills it.\n"
      "Exit status: the command's own, 128 + signal when a signal ended it, 127 when\n"
      "it was not found, 126 when it cannot be executed, 125 when microvm failed.");
  add_program_options(parser);
  parser.flag("i,interactive", "Pass standard input on")
      .flag("t,tty", "On a terminal; with -i it has our keys (see microvm shell)")
      .value("detach-keys", "KEYS", "With -it: leave it running; default \"ctrl-p,ctrl-q\"")
      .value("timeout", "SECONDS", "Kill the command after this time");
  if (!parser.parse(split.options)) return parser.exit_code();
  // As in run, and as kubectl's users write it.
  if (split.rest.size() > 2 && split.rest[1] == "--") split.rest.erase(split.rest.begin() + 1);
  if (split.rest.size() < 2) return parser.wrong("give the microVM and the command");

  microvm::ExecOptions program;
  program.argv.assign(split.rest.begin() + 1, split.rest.end());
  if (auto problem = read_program_options(parser, program)) return parser.wrong(*problem);
  if (parser.has("timeout")) {
    const auto seconds = parse_count(parser.get("timeout"));
    if (!seconds || *seconds > 4'000'000) return parser.wrong("--timeout: not a number of seconds");
    program.timeout_ms = *seconds * 1000;
  }
  program.stdin_open = parser.has("interactive");

  const auto keys = parse_detach_keys(parser.get("detach-keys", kDefaultDetachKeys));
  if (!keys) return parser.wrong("--detach-keys: not a list like ctrl-p,ctrl-q");
  const bool terminal = parser.has("tty");
  if (terminal && program.timeout_ms != 0)
    return parser.wrong("-t and --timeout exclude each other");
  if (terminal && !can_lend_terminal("exec", program.stdin_open)) return kMicrovmFailed;

  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error(), kMicrovmFailed);
  auto vm = runtime->attach(split.rest[0]);
  if (!vm) return fail(vm.error(), kMicrovmFailed);
  if (terminal) {
    const TerminalUse use{.input = program.stdin_open,
                          .detach_keys = *keys,
                          .vm = split.rest[0],
                          .cancel = context.cancel};
    return open_terminal(*vm, program, use);
  }
  return run_in_guest(*vm, program, context.limits());
}

}  // namespace cli
