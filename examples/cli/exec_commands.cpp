#include "exec_commands.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "json.hpp"
#include "options.hpp"
#include "output.hpp"
#include "run_in_guest.hpp"
#include "signal_name.hpp"

namespace cli {
namespace {

using microvm::ExecInfo;
using microvm::Result;
using microvm::Vm;

// The Runtime stays with the microVM.
struct Reached {
  microvm::Runtime runtime;
  Vm vm;
};

Result<Reached> reach(const Context& context, const std::string& id) {
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return tl::unexpected(runtime.error());
  auto vm = runtime->attach(id);
  if (!vm) return tl::unexpected(vm.error());
  return Reached{std::move(*runtime), std::move(*vm)};
}

std::string state_of(const ExecInfo& info) {
  if (!info.ended) return fmt::format("running ({} attached)", info.clients);
  if (info.ended->signal != 0) return fmt::format("ended by signal {}", info.ended->signal);
  return fmt::format("ended with {}", info.ended->code);
}

Json to_json(const ExecInfo& info) {
  Json program = {{"id", info.id},           {"command", info.command},
                  {"pid", info.pid},         {"clients", info.clients},
                  {"written", info.written}, {"detached", info.detached},
                  {"ended", nullptr},        {"output_bytes", info.output_bytes}};
  if (info.ended) {
    program.set("ended", {{"code", info.ended->code},
                          {"signal", info.ended->signal},
                          {"timed_out", info.ended->timed_out}});
  }
  return program;
}

void print_programs(const std::vector<ExecInfo>& infos) {
  std::vector<std::vector<std::string>> rows = {{"EXEC", "STATE", "OUTPUT", "COMMAND"}};
  for (const ExecInfo& info : infos) {
    rows.push_back({info.id, state_of(info), human_size(info.output_bytes), info.command});
  }
  print_table(rows);
}

int list(const Context& context, const Arguments& arguments) {
  OptionParser parser("exec ls", "[--json] ID",
                      "List the programs of exec: those that run, and those that have ended and "
                      "whose exit status nobody has asked for.");
  parser.flag("json", "Print JSON").words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto reached = reach(context, parser.found_words()[0]);
  if (!reached) return fail(reached.error(), kMicrovmFailed);
  const auto infos = reached->vm.execs(context.limits());
  if (!infos) return fail(infos.error(), kMicrovmFailed);
  if (!parser.has("json")) {
    print_programs(*infos);
    return kOk;
  }
  std::vector<Json> all;
  for (const ExecInfo& info : *infos) all.push_back(to_json(info));
  print_json(all);
  return kOk;
}

constexpr const char* kAttachNotes =
    "Shows the output that the microVM has kept, then what comes, until the program ends.\n"
    "As with docker attach, SIGINT (Ctrl-C), SIGTERM and SIGHUP are passed on to the program, and\n"
    "a second one kills it; with --sig-proxy=false the first leaves it running. Killing this\n"
    "command (SIGKILL) leaves it running, too. One client at a time writes standard input.\n"
    "Exit status: the program's own, 128 + signal when a signal ended it, 0 after leaving it,\n"
    "125 when microvm failed.";

int attach(const Context& context, const Arguments& arguments) {
  OptionParser parser("exec attach", "[OPTIONS] ID EXEC", "Come back to a program of exec.",
                      kAttachNotes);
  parser.flag("no-stdin", "Do not pass standard input on")
      .flag("take-over", "Take standard input from the client that writes it now")
      .value("sig-proxy", "true|false", "Pass signals on (true)")
      .flag("reattach", "Go on by itself when the microVM was suspended")
      .words(2, 2);
  if (!parser.parse(arguments)) return parser.exit_code();
  const std::string proxy = parser.get("sig-proxy", "true");
  if (proxy != "true" && proxy != "false") return parser.wrong("--sig-proxy: not true or false");
  microvm::ExecAttachOptions options;
  options.write = !parser.has("no-stdin");
  options.take_over = parser.has("take-over");
  options.reattach = parser.has("reattach");
  if (options.take_over && !options.write) {
    return parser.wrong("--take-over and --no-stdin exclude each other");
  }
  auto reached = reach(context, parser.found_words()[0]);
  if (!reached) return fail(reached.error(), kMicrovmFailed);
  auto program = reached->vm.attach_exec(parser.found_words()[1], options, context.limits());
  if (!program) return fail(program.error(), code_after_failure());
  const ProgramUse use{.vm = parser.found_words()[0],
                       .input = options.write,
                       .pass_signals = proxy == "true",
                       .is_ours = false};
  return run_program(reached->vm, *program, use, *context.cancel);
}

int kill(const Context& context, const Arguments& arguments) {
  OptionParser parser("exec kill", "[-s SIGNAL] ID EXEC…",
                      "Send a signal to programs of exec and what they started.");
  parser.value("s,signal", "SIGNAL", "Its name or number (TERM)").words(2, 10000);
  if (!parser.parse(arguments)) return parser.exit_code();
  const auto signal = parse_signal(parser.get("signal", "TERM"));
  if (!signal) return parser.wrong("--signal: no such signal");
  auto reached = reach(context, parser.found_words()[0]);
  if (!reached) return fail(reached.error(), kMicrovmFailed);
  int code = kOk;
  for (const std::string& id : std::span(parser.found_words()).subspan(1)) {
    const auto sent = reached->vm.signal_exec(id, *signal, context.limits());
    if (sent) {
      fmt::print("{}\n", id);
    } else {
      code = fail(sent.error(), kMicrovmFailed);
    }
  }
  return code;
}

int wait_for(const Context& context, const Arguments& arguments) {
  OptionParser parser("exec wait", "ID EXEC", "Wait until a program of exec has ended.",
                      "Its exit status is then known to nobody else.\n"
                      "Exit status: the program's own, 128 + signal when a signal ended it, 125 "
                      "when microvm failed.");
  parser.words(2, 2);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto reached = reach(context, parser.found_words()[0]);
  if (!reached) return fail(reached.error(), kMicrovmFailed);
  const auto status = reached->vm.wait_exec(parser.found_words()[1], context.limits());
  return status ? exit_code_of(*status) : fail(status.error(), code_after_failure());
}

constexpr std::array kExecCommands = {
    Command{"ls", "List the programs of exec", list},
    Command{"attach", "Come back to one", attach},
    Command{"kill", "Send a signal to some", kill},
    Command{"wait", "Wait for one to end", wait_for},
};

// Of this name there may be a microVM, too: who means that must learn it.
void say_if_microvm(const Context& context, const std::string& name) {
  if (!reach(context, name)) return;
  print_error(fmt::format(
      "\"exec {0}\" is a command; the microVM of that name is reached with: microvm exec -- {0} …",
      name));
}

}  // namespace

bool is_exec_command(const Arguments& arguments) {
  return !arguments.empty() && std::ranges::any_of(kExecCommands, [&](const Command& command) {
    return command.name == arguments[0];
  });
}

int exec_command(const Context& context, const Arguments& arguments) {
  say_if_microvm(context, arguments[0]);
  return dispatch(context, arguments, "exec", kExecCommands);
}

}  // namespace cli
