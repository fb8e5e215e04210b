// events and wait: what microVMs do over time.
#include <fmt/core.h>
#include <unistd.h>

#include "command.hpp"
#include "each_id.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"

namespace cli {
namespace {

std::string to_line(const microvm::VmEvent& event) {
  return fmt::format("{} {} {:<12} {} ({:.1f} ms) {}\n", event.time, event.vm_id,
                     microvm::vm_event_name(event.kind), event.cause,
                     static_cast<double>(event.took_us) / 1000, event.detail);
}

std::string to_json_line(const microvm::VmEvent& event) {
  Json line = {{"time", event.time},
               {"vm", event.vm_id},
               {"event", microvm::vm_event_name(event.kind)},
               {"cause", event.cause},
               {"took_us", event.took_us},
               {"detail", event.detail}};
  if (event.end != microvm::VmEnd::none) line.set("end", microvm::vm_end_name(event.end));
  return line.line() + "\n";
}

// Its line is there as soon as it has ended, whatever the next one does.
int wait_for_one(const Context& context, microvm::Runtime& runtime, const std::string& id,
                 OutputStream& out) {
  auto vm = runtime.attach(id, context.limits());
  if (!vm) return fail(vm.error());
  const auto ending = vm->wait(context.limits());
  if (!ending) return fail(ending.error());
  return out.write(ending->reason + "\n") ? kOk : kFailed;
}

}  // namespace

int events(const Context& context, const Arguments& arguments) {
  OptionParser parser("events", "[-f] [--json]", "Show what happened to microVMs, and why.");
  parser.flag("f,follow", "And what comes, until Ctrl-C").flag("json", "Print one JSON per line");
  if (!parser.parse(arguments)) return parser.exit_code();
  const auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const bool json = parser.has("json");
  OutputStream out(STDOUT_FILENO, *context.cancel);
  auto events = runtime->events({.follow = parser.has("follow")}, context.limits());
  if (!events) return fail(events.error());
  for (;;) {
    const auto event = events->next(context.limits());
    if (!event) return context.cancel->cancelled() ? kOk : fail(event.error());
    if (!*event) return kOk;
    if (!out.write(json ? to_json_line(**event) : to_line(**event))) return out.give_up(kFailed);
  }
}

int wait(const Context& context, const Arguments& arguments) {
  OptionParser parser("wait", "ID…", "Wait until microVMs have ended, and print why they did.",
                      "One line each, in the order given.");
  parser.words(1, 10000);
  if (!parser.parse(arguments)) return parser.exit_code();
  OutputStream out(STDOUT_FILENO);
  const int code =
      for_each_id(context, parser.found_words(), [&](auto& runtime, const std::string& id) {
        return out.failed() ? kFailed : wait_for_one(context, runtime, id, out);
      });
  return out.failed() ? out.give_up(kFailed) : code;
}

}  // namespace cli
