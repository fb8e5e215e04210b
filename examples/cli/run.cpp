#include <unistd.h>

#include "command.hpp"
#include "duration.hpp"
#include "follow_log.hpp"
#include "idle_options.hpp"
#include "network_options.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"
#include "program_options.hpp"
#include "run_in_guest.hpp"
#include "run_terminal.hpp"

namespace cli {
namespace {

// Until the microVM ends; Ctrl-C, or nobody who reads what it prints, ends it.
int follow(const Context& context, microvm::Vm& vm) {
  OutputStream out(STDOUT_FILENO, *context.cancel);
  const auto followed = follow_log(
      vm, microvm::LogSource::app, [&](std::string_view piece) { out.write(piece); },
      context.limits());
  if (out.failed()) return out.give_up(kMicrovmFailed);
  if (context.cancel->cancelled()) return kOk;
  if (!followed) return fail(followed.error(), kMicrovmFailed);
  const auto ending = vm.wait(context.limits());
  if (!ending) return context.cancel->cancelled() ? kOk : fail(ending.error(), kMicrovmFailed);
  const auto info = vm.info();
  if (info && info->end == microvm::VmEnd::powered_off) return kOk;
  print_error(ending->reason);
  return kFailed;
}

struct Wanted {
  std::string image;
  microvm::RunOptions options;
  microvm::ExecOptions program;
  bool terminal = false;
  [[nodiscard]] bool has_program() const { return terminal || !program.argv.empty(); }
};

// The microVM ends with the program, so there is no detaching from it.
int run_foreground(const Context& context, microvm::Vm& vm, const Wanted& wanted) {
  if (!wanted.has_program()) return follow(context, vm);
  if (!wanted.terminal) {
    const ProgramUse use{.vm = vm.id(), .input = wanted.program.stdin_open};
    return run_in_guest(vm, wanted.program, use, *context.cancel);
  }
  const TerminalUse use{.input = wanted.program.stdin_open,
                        .detach_keys = {},
                        .vm = vm.id(),
                        .cancel = context.cancel};
  return open_terminal(vm, wanted.program, use);
}

// Without an app there is nothing to see, and nothing that ends but by Ctrl-C.
void warn_of_silence(const microvm::Runtime& runtime, const Wanted& wanted) {
  if (wanted.has_program() || !wanted.options.dies_with_owner) return;
  const auto image = runtime.image(wanted.image);
  if (image && !image->has_app) {
    print_error(wanted.image +
                ": the image has no app: it waits for Ctrl-C; give a COMMAND, -it, "
                "or -d and use microvm exec");
  }
}

int start(const Context& context, const Wanted& wanted) {
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error(), kMicrovmFailed);
  warn_of_silence(*runtime, wanted);
  auto vm = runtime->run(wanted.image, wanted.options, context.limits());
  if (!vm) return fail(vm.error(), code_after_failure());
  if (!wanted.options.dies_with_owner) {
    OutputStream out(STDOUT_FILENO);
    return out.write(vm->id() + "\n") ? kOk : out.give_up(kMicrovmFailed);
  }
  return run_foreground(context, *vm, wanted);
}

constexpr const char* kNotes =
    "In the foreground it shows what the app prints, and Ctrl-C ends the microVM; with a\n"
    "COMMAND it runs that in the microVM instead, ends with it and gives its exit status; with\n"
    "-it that is on a terminal, and a shell without a COMMAND. A microVM in the foreground\n"
    "leaves nothing behind.\n"
    "SIGINT (Ctrl-C), SIGTERM and SIGHUP are passed on to the COMMAND; a second one kills it.\n"
    "A TIME is like 90s, 1h30m or 250ms. Times are kept by this command, so that they are for a\n"
    "microVM in the foreground: with -d there is nobody to carry them out, and they are refused.\n"
    "(A program that links libmicrovm keeps them as long as its Runtime is open.) A microVM is\n"
    "idle while no exec or attached terminal uses it, no bytes move through its ports and its\n"
    "programs use less than a twentieth of a CPU.\n"
    "Exit status: the COMMAND's own, 128 + signal when a signal ended it; without a COMMAND 0\n"
    "after a signal or when the guest powered off, 1 when it ended in another way, such as a\n"
    "panic or the end of a time above; 125 when microvm failed.";

OptionParser make_parser() {
  OptionParser parser("run", "[-d | -it] [OPTIONS] IMAGE [-- COMMAND [ARGUMENT…]]",
                      "Start a microVM from an image's snapshot.",
                      std::string(kNotes) + "\n" + kNetworkNotes);
  parser.flag("d,detach", "Leave it running, print its id")
      .value("name", "NAME", "Name usable instead of the id")
      .value("payload", "TEXT", "For the image's run hook, at most 64 KiB")
      .value("start-timeout", "TIME", "Fail when its guest does not answer by then (30s)")
      .flag("i,interactive", "Pass standard input on to the COMMAND")
      .flag("t,tty", "Run the COMMAND on a terminal");
  add_program_options(parser);
  add_idle_options(parser, Lifetime::ends_with_command);
  add_network_options(parser);
  parser.flag("rm", "Accepted for docker's habit; always so in the foreground");
  return parser;
}

std::optional<std::string> read_start_timeout(const OptionParser& parser,
                                              microvm::RunOptions& options) {
  if (!parser.has("start-timeout")) return std::nullopt;
  const auto limit = parse_duration(parser.get("start-timeout"));
  if (!limit || limit->count() == 0) return "--start-timeout: not a time like 90s or 1h30m";
  options.start_timeout = *limit;
  return std::nullopt;
}

// The problem with the line, if there is one.
std::optional<std::string> read_wanted(const OptionParser& parser, const Arguments& words,
                                       Wanted& wanted) {
  wanted.image = words[0];
  wanted.options.dies_with_owner = !parser.has("detach");
  wanted.options.name = parser.get("name");
  wanted.options.run_hook_payload = parser.get("payload");
  wanted.program.argv.assign(words.begin() + 1, words.end());
  if (words.size() > 1 && words[1] == "--") wanted.program.argv.erase(wanted.program.argv.begin());
  wanted.program.stdin_open = parser.has("interactive");
  wanted.terminal = parser.has("tty");
  if (auto problem = read_start_timeout(parser, wanted.options)) return problem;
  if (auto problem = read_idle_options(parser, Lifetime::ends_with_command, wanted.options.idle)) {
    return problem;
  }
  if (auto problem = read_network_options(parser, wanted.options.network)) return problem;
  return read_program_options(parser, wanted.program);
}

// Of options with each other, if there is one.
std::optional<std::string> find_conflict(const OptionParser& parser, const Wanted& wanted) {
  if (!wanted.options.dies_with_owner) {
    if (!wanted.program.argv.empty()) {
      return "-d and a command exclude each other: use microvm exec";
    }
    if (parser.has("rm")) return "-d and --rm exclude each other: use microvm rm";
    if (wanted.program.stdin_open || wanted.terminal) {
      return "-d and -it exclude each other: use microvm shell";
    }
    if (has_idle_times(wanted.options.idle)) {
      return "-d and the times of an idle policy exclude each other: when this command has ended "
             "nobody carries them out";
    }
  }
  if (has_program_options(parser) && !wanted.has_program()) {
    return "-e, --env-file, -w and -u are for a COMMAND";
  }
  return std::nullopt;
}

}  // namespace

int run(const Context& context, const Arguments& arguments) {
  Arguments with_value = idle_options_with_value();
  const Arguments of_network = network_options_with_value();
  with_value.insert(with_value.end(), of_network.begin(), of_network.end());
  with_value.insert(with_value.end(), {"--name", "--payload", "--start-timeout"});
  const auto split = split_at_program(arguments, with_value);
  OptionParser parser = make_parser();
  if (!parser.parse(split.options)) return parser.exit_code();
  if (split.rest.empty()) return parser.wrong("give the image");
  Wanted wanted;
  if (const auto problem = read_wanted(parser, split.rest, wanted)) return parser.wrong(*problem);
  if (const auto conflict = find_conflict(parser, wanted)) return parser.wrong(*conflict);
  if (wanted.terminal && !can_lend_terminal("run", wanted.program.stdin_open)) {
    return kMicrovmFailed;
  }
  return start(context, wanted);
}

}  // namespace cli
