#include <fmt/core.h>

#include "command.hpp"
#include "each_id.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

int remove_one(const Context& context, microvm::Runtime& runtime, const std::string& id,
               bool force) {
  if (!force) {
    const auto vm = runtime.attach(id);
    if (!vm) return fail(vm.error());
    const auto info = vm->info();
    if (!info) return fail(info.error());
    if (info->state != microvm::VmState::terminated) {
      print_error(fmt::format("microvm {} is {}: use -f to end and remove it", id,
                              microvm::vm_state_name(info->state)));
      return kFailed;
    }
  }
  const auto removed = runtime.remove_vm(id, context.limits());
  if (!removed) return fail_removal(removed.error(), force);
  fmt::print("{}\n", id);
  return kOk;
}

}  // namespace

int rm(const Context& context, const Arguments& arguments) {
  OptionParser parser("rm", "[-f] ID…", "Remove ended microVMs.");
  parser.flag("f,force",
              "End those first that have not ended; one that is not there is no failure");
  parser.words(1, 10000);
  if (!parser.parse(arguments)) return parser.exit_code();
  return for_each_id(context, parser.found_words(), [&](auto& runtime, const auto& id) {
    return remove_one(context, runtime, id, parser.has("force"));
  });
}

}  // namespace cli
