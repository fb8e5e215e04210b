#include <fmt/core.h>

#include <algorithm>

#include "command.hpp"
#include "detach_keys.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"
#include "program_options.hpp"
#include "run_terminal.hpp"

namespace cli {
namespace {

using microvm::ErrorCode;
using microvm::Pty;
using microvm::PtyInfo;
using microvm::Vm;

std::string state_of(const PtyInfo& info) {
  if (!info.ended) return fmt::format("running ({} attached)", info.clients);
  if (info.ended->signal != 0) return fmt::format("ended by signal {}", info.ended->signal);
  return fmt::format("ended with {}", info.ended->code);
}

Json to_json(const PtyInfo& info) {
  Json session = {
      {"id", info.id},           {"command", info.command},
      {"pid", info.pid},         {"columns", info.size.columns},
      {"rows", info.size.rows},  {"clients", info.clients},
      {"writers", info.writers}, {"shared", info.writing == microvm::PtyWriting::shared},
      {"ended", nullptr}};
  if (info.ended)
    session.set("ended", {{"code", info.ended->code}, {"signal", info.ended->signal}});
  return session;
}

int list(const Context& context, Vm& vm, bool json) {
  const auto infos = vm.ptys(context.limits());
  if (!infos) return fail(infos.error(), kMicrovmFailed);
  if (json) {
    std::vector<Json> all;
    for (const PtyInfo& info : *infos) all.push_back(to_json(info));
    print_json(all);
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {{"SESSION", "STATE", "SIZE", "COMMAND"}};
  for (const PtyInfo& info : *infos) {
    rows.push_back({info.id, state_of(info),
                    fmt::format("{}x{}", info.size.columns, info.size.rows), info.command});
  }
  print_table(rows);
  return kOk;
}

struct Wanted {
  std::string session;
  microvm::ExecOptions program;
  bool read_only = false;
  bool shared = false;
};

microvm::Result<Pty> open(Vm& vm, const Wanted& wanted, const microvm::CallLimits& limits) {
  auto options = terminal_options(wanted.program);
  options.id = wanted.session;
  if (wanted.shared) options.writing = microvm::PtyWriting::shared;
  return vm.pty(options, limits);
}

// A named session is gone back to; there being none, it is begun.
microvm::Result<Pty> reach(Vm& vm, const Wanted& wanted, const microvm::CallLimits& limits) {
  if (wanted.session.empty() || !wanted.program.argv.empty()) return open(vm, wanted, limits);
  microvm::PtyAttachOptions options;
  options.write = !wanted.read_only;
  options.take_over = options.write;
  if (options.write) options.size = terminal_options({}).size;
  auto pty = vm.attach_pty(wanted.session, options, limits);
  if (pty || pty.error().code != ErrorCode::not_found || wanted.read_only) return pty;
  return open(vm, wanted, limits);
}

OptionParser make_parser() {
  OptionParser parser(
      "shell", "[OPTIONS] ID [PROGRAM [ARGUMENT…]]",
      "A terminal in a microVM: the user's shell, or PROGRAM.",
      "The detach keys leave the program running; --session comes back to it and to the recent\n"
      "output of its screen, also after the microVM was suspended. With --session and no PROGRAM\n"
      "a session of that name is gone back to, taking the keyboard over, or begun.\n"
      "Exit status: the program's own, 128 + signal when a signal ended it, 0 after detaching,\n"
      "125 when microvm failed.");
  parser.value("session", "NAME", "The session's name (default for a new one: a number)")
      .flag("read-only", "Only watch the session")
      .flag("shared", "Of a new session: all that attach may write, not one at a time")
      .value("detach-keys", "KEYS", "Default \"ctrl-p,ctrl-q\"; \"\" for none");
  add_program_options(parser);
  parser.flag("l,list", "List the microVM's sessions")
      .flag("json", "With --list: print JSON")
      .value("close", "NAME", "Hang a session up");
  return parser;
}

std::optional<std::string> read_wanted(const OptionParser& parser, const Arguments& words,
                                       Wanted& wanted) {
  wanted.session = parser.get("session");
  wanted.read_only = parser.has("read-only");
  wanted.shared = parser.has("shared");
  wanted.program.argv.assign(words.begin() + 1, words.end());
  return read_program_options(parser, wanted.program);
}

int close(const Context& context, Vm& vm, const std::string& session) {
  const auto closed = vm.close_pty(session, context.limits());
  return closed ? kOk : fail(closed.error(), kMicrovmFailed);
}

int converse(const Context& context, Vm& vm, const Wanted& wanted, const TerminalUse& use) {
  if (!can_lend_terminal("shell", use.input)) return kMicrovmFailed;
  auto pty = reach(vm, wanted, context.limits());
  if (!pty) return fail(pty.error(), kMicrovmFailed);
  return run_in_terminal(*pty, use);
}

}  // namespace

int shell(const Context& context, const Arguments& arguments) {
  const auto split = split_at_program(arguments, {"--session", "--detach-keys", "--close"});
  OptionParser parser = make_parser();
  if (!parser.parse(split.options)) return parser.exit_code();
  if (split.rest.empty()) return parser.wrong("give the microVM");
  const auto keys = parse_detach_keys(parser.get("detach-keys", kDefaultDetachKeys));
  if (!keys) return parser.wrong("--detach-keys: not a list like ctrl-p,ctrl-q");
  Wanted wanted;
  if (auto problem = read_wanted(parser, split.rest, wanted)) return parser.wrong(*problem);
  if (wanted.read_only && (wanted.session.empty() || !wanted.program.argv.empty())) {
    return parser.wrong("--read-only is for a --session that exists");
  }
  if (parser.has("json") && !parser.has("list")) return parser.wrong("--json is for --list");
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error(), kMicrovmFailed);
  auto vm = runtime->attach(split.rest[0]);
  if (!vm) return fail(vm.error(), kMicrovmFailed);
  if (parser.has("list")) return list(context, *vm, parser.has("json"));
  if (parser.has("close")) return close(context, *vm, parser.get("close"));
  const TerminalUse use{
      .input = true, .detach_keys = *keys, .vm = split.rest[0], .cancel = context.cancel};
  return converse(context, *vm, wanted, use);
}

}  // namespace cli
