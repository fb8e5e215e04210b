#include <unistd.h>

#include "command.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"

namespace cli {

int logs(const Context& context, const Arguments& arguments) {
  OptionParser parser("logs", "[-f] [--kernel] ID",
                      "Show the last 256 KiB of what a microVM's command printed.");
  parser.flag("f,follow", "Go on until the microVM ends")
      .flag("kernel", "The kernel's log instead")
      .words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const auto source = parser.has("kernel") ? microvm::LogSource::kernel : microvm::LogSource::app;
  OutputStream out(STDOUT_FILENO, *context.cancel);
  if (parser.has("follow")) {
    const auto followed = vm->follow_logs(
        source, [&](std::string_view piece) { out.write(piece); }, context.limits());
    if (out.failed()) return out.give_up(kFailed);
    return followed || context.cancel->cancelled() ? kOk : fail(followed.error());
  }
  const auto text = vm->logs(source);
  if (!text) return fail(text.error());
  return out.write(*text) ? kOk : out.give_up(kFailed);
}

}  // namespace cli
