#include <fmt/core.h>
#include <unistd.h>

#include "command.hpp"
#include "detach_keys.hpp"
#include "exec_commands.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"
#include "program_options.hpp"
#include "run_in_guest.hpp"
#include "run_terminal.hpp"

namespace cli {
namespace {

constexpr const char* kNotes =
    "  microvm exec ls ID             List the programs of exec\n"
    "  microvm exec attach ID EXEC    Come back to one\n"
    "  microvm exec kill ID EXEC…     Send a signal to some\n"
    "  microvm exec wait ID EXEC      Wait for one to end\n"
    "These words are commands only directly behind exec: a microVM of such a name is reached by\n"
    "its id, or with 'microvm exec -- NAME COMMAND'.\n\n"
    "A program belongs to its microVM: it goes on over suspend and resume, in forks, and when\n"
    "this command is killed (by SIGKILL); exec attach comes back to it and to the last 256 KiB of\n"
    "its output. When the microVM is suspended under this command it says how and ends with 125;\n"
    "with --reattach it goes on by itself, which resumes the microVM. A program with -d has no\n"
    "standard input, but with -i, where it is for who attaches.\n"
    "SIGINT (Ctrl-C), SIGTERM and SIGHUP are passed on to the command; a second one kills it.\n"
    "Arguments and environment may have 2 MiB together and 128 KiB each, as on Linux (256 KiB\n"
    "for each of the two in microVMs of images that an older version built).\n"
    "Exit status: the command's own, 128 + signal when a signal ended it, 127 when it was not\n"
    "found, 126 when it cannot be executed, 125 when microvm failed; with -d 0 once it runs.";

struct Wanted {
  std::string vm;
  microvm::ExecOptions program;
  std::string detach_keys;
  bool terminal = false;
};

OptionParser make_parser() {
  OptionParser parser("exec", "[OPTIONS] ID [--] COMMAND [ARGUMENT…]",
                      "Run a command in a microVM.", kNotes);
  add_program_options(parser);
  parser.flag("d,detach", "Leave it running, print its name for exec attach")
      .value("id", "NAME", "Its name in exec ls and exec attach (default: a number)")
      .flag("i,interactive", "Pass standard input on")
      .flag("t,tty", "On a terminal; with -i it has our keys (see microvm shell)")
      .value("detach-keys", "KEYS", "With -it: leave it running; default \"ctrl-p,ctrl-q\"")
      .flag("reattach", "Go on by itself when the microVM was suspended")
      .value("timeout", "SECONDS", "Kill the command after this time");
  return parser;
}

// The problem with the line, if there is one.
std::optional<std::string> read_wanted(const OptionParser& parser, const Arguments& words,
                                       Wanted& wanted) {
  wanted.vm = words[0];
  wanted.terminal = parser.has("tty");
  microvm::ExecOptions& program = wanted.program;
  program.argv.assign(words.begin() + 1, words.end());
  program.id = parser.get("id");
  program.stdin_open = parser.has("interactive");
  program.detached = parser.has("detach");
  program.reattach = parser.has("reattach");
  if (parser.has("timeout")) {
    const auto seconds = parse_count(parser.get("timeout"));
    if (!seconds || *seconds > 4'000'000) return "--timeout: not a number of seconds";
    program.timeout_ms = *seconds * 1000;
  }
  const auto keys = parse_detach_keys(parser.get("detach-keys", kDefaultDetachKeys));
  if (!keys) return "--detach-keys: not a list like ctrl-p,ctrl-q";
  wanted.detach_keys = *keys;
  return read_program_options(parser, program);
}

// Of options with each other, if there is one.
std::optional<std::string> find_conflict(const Wanted& wanted) {
  const microvm::ExecOptions& program = wanted.program;
  if (program.detached && program.reattach) return "-d and --reattach exclude each other";
  if (!wanted.terminal) return std::nullopt;
  if (program.timeout_ms != 0) return "-t and --timeout exclude each other";
  if (program.detached || program.reattach || !program.id.empty()) {
    return "-t excludes -d, --id and --reattach: use microvm shell --session";
  }
  return std::nullopt;
}

// One that could not be started has a status at once.
int start_detached(const Context& context, microvm::Vm& vm, const microvm::ExecOptions& options) {
  auto program = vm.exec(options, context.limits());
  if (!program) return fail(program.error(), code_after_failure());
  if (program->pid() == 0) {
    const auto status = program->wait(context.limits());
    if (!status) return fail(status.error(), kMicrovmFailed);
    if (!status->message.empty()) return exit_code_of(*status);
  }
  OutputStream out(STDOUT_FILENO);
  return out.write(program->id() + "\n") ? kOk : out.give_up(kMicrovmFailed);
}

int start(const Context& context, microvm::Vm& vm, const Wanted& wanted) {
  if (wanted.program.detached) return start_detached(context, vm, wanted.program);
  if (wanted.terminal) {
    const TerminalUse use{.input = wanted.program.stdin_open,
                          .detach_keys = wanted.detach_keys,
                          .vm = wanted.vm,
                          .cancel = context.cancel};
    return open_terminal(vm, wanted.program, use);
  }
  const ProgramUse use{.vm = wanted.vm, .input = wanted.program.stdin_open};
  return run_in_guest(vm, wanted.program, use, *context.cancel);
}

}  // namespace

int exec(const Context& context, const Arguments& arguments) {
  if (is_exec_command(arguments)) return exec_command(context, arguments);
  auto split = split_at_program(arguments, {"--timeout", "--detach-keys", "--id"});
  OptionParser parser = make_parser();
  if (!parser.parse(split.options)) return parser.exit_code();
  // As in run, and as kubectl's users write it.
  if (split.rest.size() > 2 && split.rest[1] == "--") split.rest.erase(split.rest.begin() + 1);
  if (split.rest.size() < 2) return parser.wrong("give the microVM and the command");
  Wanted wanted;
  if (const auto problem = read_wanted(parser, split.rest, wanted)) return parser.wrong(*problem);
  if (const auto conflict = find_conflict(wanted)) return parser.wrong(*conflict);
  if (wanted.terminal && !can_lend_terminal("exec", wanted.program.stdin_open)) {
    return kMicrovmFailed;
  }
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error(), kMicrovmFailed);
  auto vm = runtime->attach(wanted.vm);
  if (!vm) return fail(vm.error(), kMicrovmFailed);
  return start(context, *vm, wanted);
}

}  // namespace cli
