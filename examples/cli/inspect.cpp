#include "command.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

using microvm::Error;
using microvm::ErrorCode;

// There is none of this name, or no image can have it.
bool is_no_image(const Error& error) {
  return error.code == ErrorCode::not_found || error.code == ErrorCode::invalid_argument;
}

Error no_such(const std::string& what) {
  return {ErrorCode::not_found, "no microvm and no image " + what};
}

int inspect_vm(const microvm::Vm& vm) {
  const auto info = vm.info();
  if (!info) return fail(info.error());
  Json report = to_json(*info);
  if (const auto counters = vm.counters()) {
    report.set("counters", {{"paused", counters->paused},
                            {"exits", counters->exits},
                            {"start_to_run_ns", counters->start_to_run_ns},
                            {"network", to_json(counters->network)}});
  }
  print_json(report);
  return kOk;
}

}  // namespace

int inspect(const Context& context, const Arguments& arguments) {
  OptionParser parser("inspect", "ID", "Print everything about a microVM or an image as JSON.");
  parser.words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const std::string& what = parser.found_words()[0];
  auto vm = runtime->attach(what);
  if (vm) return inspect_vm(*vm);
  if (vm.error().code != ErrorCode::not_found) return fail(vm.error());
  const auto image = runtime->image(what);
  if (!image) return fail(is_no_image(image.error()) ? no_such(what) : image.error());
  print_json(*image);
  return kOk;
}

}  // namespace cli
