// events and wait: what microVMs do over time.
#include <fmt/core.h>
#include <unistd.h>

#include "command.hpp"
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
  const Json line = {{"time", event.time},
                     {"vm", event.vm_id},
                     {"event", microvm::vm_event_name(event.kind)},
                     {"cause", event.cause},
                     {"took_us", event.took_us},
                     {"detail", event.detail}};
  return line.dump() + "\n";
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
  const auto done = runtime->events(
      parser.has("follow"),
      [&](const microvm::VmEvent& event) {
        out.write(json ? to_json_line(event) : to_line(event));
      },
      context.limits());
  if (out.failed()) return out.give_up(kFailed);
  if (!done && !context.cancel->cancelled()) return fail(done.error());
  return kOk;
}

int wait(const Context& context, const Arguments& arguments) {
  OptionParser parser("wait", "ID", "Wait until a microVM has ended, and print why it did.");
  parser.words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const auto reason = vm->wait(context.limits());
  if (!reason) return fail(reason.error());
  fmt::print("{}\n", *reason);
  return kOk;
}

}  // namespace cli
