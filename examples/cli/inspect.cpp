#include "command.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

Json describe(microvm::Vm& vm, const microvm::VmInfo& info) {
  Json report = to_json(info);
  if (const auto counters = vm.counters()) {
    report["counters"] = {{"paused", counters->paused},
                          {"exits", counters->exits},
                          {"start_to_run_ns", counters->start_to_run_ns}};
  }
  return report;
}

}  // namespace

int inspect(const Context& context, const Arguments& arguments) {
  OptionParser parser("inspect", "ID", "Print everything about a microVM or an image as JSON.");
  parser.words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const std::string& what = parser.found_words()[0];
  if (auto vm = runtime->attach(what)) {
    const auto info = vm->info();
    if (!info) return fail(info.error());
    print_json(describe(*vm, *info));
    return kOk;
  }
  const auto image = runtime->image(what);
  if (!image) {
    print_error("no microvm and no image " + what);
    return kFailed;
  }
  print_json(*image);
  return kOk;
}

}  // namespace cli
