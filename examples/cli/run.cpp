#include <unistd.h>

#include "command.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"
#include "run_in_guest.hpp"
#include "run_terminal.hpp"

namespace cli {
namespace {

// As Vm::wait() says it.
constexpr std::string_view kPoweredOff = "the guest powered off";

// Until the microVM ends; Ctrl-C, or nobody who reads what it prints, ends it.
int follow(const Context& context, microvm::Vm& vm) {
  OutputStream out(STDOUT_FILENO, *context.cancel);
  const auto followed = vm.follow_logs(
      microvm::LogSource::app, [&](std::string_view piece) { out.write(piece); }, context.limits());
  if (out.failed()) return out.give_up(kMicrovmFailed);
  if (context.cancel->cancelled()) return kOk;
  if (!followed) return fail(followed.error(), kMicrovmFailed);
  const auto reason = vm.wait(context.limits());
  if (!reason) return context.cancel->cancelled() ? kOk : fail(reason.error(), kMicrovmFailed);
  if (*reason == kPoweredOff) return kOk;
  print_error(*reason);
  return kFailed;
}

struct Foreground {
  Arguments command;
  bool stdin_open = false;
  bool terminal = false;
};

// The microVM ends with the program, so there is no detaching from it.
int run_foreground(const Context& context, microvm::Vm& vm, const Foreground& what) {
  if (what.command.empty() && !what.terminal) return follow(context, vm);
  microvm::ExecOptions program;
  program.argv = what.command;
  program.stdin_open = what.stdin_open;
  if (!what.terminal) return run_in_guest(vm, program, context.cancel);
  const TerminalUse use{
      .input = what.stdin_open, .detach_keys = {}, .vm = vm.id(), .cancel = context.cancel};
  return open_terminal(vm, program, use);
}

int start(const Context& context, const std::string& image, const microvm::RunOptions& options,
          const Foreground& foreground) {
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error(), kMicrovmFailed);
  auto vm = runtime->run(image, options, context.limits());
  if (!vm) return fail(vm.error(), kMicrovmFailed);
  if (!options.dies_with_owner) {
    OutputStream out(STDOUT_FILENO);
    return out.write(vm->id() + "\n") ? kOk : out.give_up(kMicrovmFailed);
  }
  return run_foreground(context, *vm, foreground);
}

}  // namespace

int run(const Context& context, const Arguments& arguments) {
  const auto split = split_at_first_word(arguments, {"--name", "--payload"});
  OptionParser parser(
      "run", "[-d | -it] [--name NAME] [--payload TEXT] IMAGE [-- COMMAND [ARGUMENT…]]",
      "Start a microVM from an image's snapshot.",
      "In the foreground it shows what the app prints, and Ctrl-C ends the microVM; with a "
      "COMMAND\n"
      "it runs that in the microVM instead, ends with it and gives its exit status; with -it that\n"
      "is on a terminal, and a shell without a COMMAND. A microVM in the foreground leaves "
      "nothing\n"
      "behind.\n"
      "Exit status: the COMMAND's own; without one 0 after Ctrl-C or when the guest powered off,\n"
      "1 when it ended in another way, such as a panic; 125 when microvm failed.");
  parser.flag("d,detach", "Leave it running, print its id")
      .value("name", "NAME", "Name usable instead of the id")
      .value("payload", "TEXT", "For the image's run hook, at most 64 KiB")
      .flag("i,interactive", "Pass standard input on to the COMMAND")
      .flag("t,tty", "Run the COMMAND on a terminal")
      .flag("rm", "Accepted for docker's habit; always so in the foreground");
  if (!parser.parse(split.options)) return parser.exit_code();
  if (split.rest.empty()) return parser.wrong("give the image");
  Arguments command(split.rest.begin() + 1, split.rest.end());
  if (!command.empty() && command[0] == "--") command.erase(command.begin());

  microvm::RunOptions run;
  run.dies_with_owner = !parser.has("detach");
  run.name = parser.get("name");
  run.run_hook_payload = parser.get("payload");
  if (!run.dies_with_owner && !command.empty()) {
    return parser.wrong("-d and a command exclude each other: use microvm exec");
  }
  if (!run.dies_with_owner && parser.has("rm")) {
    return parser.wrong("-d and --rm exclude each other: use microvm rm");
  }
  const Foreground foreground{command, parser.has("interactive"), parser.has("tty")};
  if (!run.dies_with_owner && (foreground.stdin_open || foreground.terminal)) {
    return parser.wrong("-d and -it exclude each other: use microvm shell");
  }
  if (foreground.terminal && !can_lend_terminal("run", foreground.stdin_open)) {
    return kMicrovmFailed;
  }
  return start(context, split.rest[0], run, foreground);
}

}  // namespace cli
