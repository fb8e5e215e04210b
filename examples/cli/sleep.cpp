// suspend and resume.
#include <fmt/core.h>

#include "command.hpp"
#include "each_id.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

void print_times(const std::string& id, const microvm::SuspendTimes& times) {
  print_json(Json{{"id", id},
                  {"pause_us", times.pause_us},
                  {"acknowledged_us", times.acknowledged_us},
                  {"durable_us", times.durable_us},
                  {"changed_bytes", times.changed_bytes},
                  {"stored_bytes", times.stored_bytes}});
}

int suspend_one(const Context& context, microvm::Runtime& runtime, const std::string& id,
                bool json) {
  auto vm = runtime.attach(id);
  if (!vm) return fail(vm.error());
  const auto times = vm->suspend({}, context.limits());
  if (!times) return fail(times.error());
  if (json) {
    print_times(vm->id(), *times);
  } else {
    fmt::print("{}\n", id);
  }
  return kOk;
}

int resume_one(const Context& context, microvm::Runtime& runtime, const std::string& id) {
  auto vm = runtime.attach(id);
  if (!vm) return fail(vm.error());
  if (auto resumed = vm->resume({}, context.limits()); !resumed) return fail(resumed.error());
  fmt::print("{}\n", id);
  return kOk;
}

}  // namespace

int suspend(const Context& context, const Arguments& arguments) {
  OptionParser parser("suspend", "[--json] ID…", "Put microVMs to sleep.",
                      "What a guest changed is kept, compressed; it costs nothing else until it is "
                      "resumed,\nby resume or by any command that needs it.");
  parser.flag("json", "Print what it cost").words(1, 10000);
  if (!parser.parse(arguments)) return parser.exit_code();
  return for_each_id(context, parser.found_words(), [&](auto& runtime, const auto& id) {
    return suspend_one(context, runtime, id, parser.has("json"));
  });
}

int resume(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "resume", "ID…", "Wake suspended microVMs.",
      "Any command that needs one wakes it too, but for those started with "
      "--no-auto-resume.\nThe times of an idle policy are carried out by the process "
      "that resumes, as long as it lives:\nafter this command, by nobody.");
  parser.words(1, 10000);
  if (!parser.parse(arguments)) return parser.exit_code();
  return for_each_id(context, parser.found_words(), [&](auto& runtime, const auto& id) {
    return resume_one(context, runtime, id);
  });
}

}  // namespace cli
