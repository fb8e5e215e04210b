#include <unistd.h>

#include <algorithm>
#include <optional>

#include "command.hpp"
#include "follow_log.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"

namespace cli {
namespace {

using microvm::LogSource;
using microvm::Vm;

// Where the last `lines` lines of the text begin.
size_t begin_of_last(std::string_view text, uint32_t lines) {
  if (lines == 0) return text.size();
  size_t end = text.ends_with('\n') ? text.size() - 1 : text.size();
  for (; lines > 0; --lines) {
    const size_t newline = end == 0 ? std::string_view::npos : text.rfind('\n', end - 1);
    if (newline == std::string_view::npos) return 0;
    end = newline;
  }
  return end + 1;
}

int show(const Context& context, Vm& vm, LogSource source, std::optional<uint32_t> lines) {
  const auto text = vm.logs(source, context.limits());
  if (!text) return fail(text.error());
  OutputStream out(STDOUT_FILENO);
  const std::string_view shown(*text);
  return out.write(shown.substr(lines ? begin_of_last(shown, *lines) : 0)) ? kOk
                                                                           : out.give_up(kFailed);
}

int follow(const Context& context, Vm& vm, LogSource source, std::optional<uint32_t> lines) {
  size_t skip = 0;
  if (lines) {
    // What is followed begins with the same text; of a log that is full and goes on in between it
    // is a little further, and that much of the lines is missed.
    const auto text = vm.logs(source, context.limits());
    if (!text) return fail(text.error());
    skip = begin_of_last(*text, *lines);
  }
  OutputStream out(STDOUT_FILENO, *context.cancel);
  const auto pass_on = [&](std::string_view piece) {
    const size_t skipped = std::min(skip, piece.size());
    skip -= skipped;
    out.write(piece.substr(skipped));
  };
  const auto followed = follow_log(vm, source, pass_on, context.limits());
  if (out.failed()) return out.give_up(kFailed);
  return followed || context.cancel->cancelled() ? kOk : fail(followed.error());
}

}  // namespace

int logs(const Context& context, const Arguments& arguments) {
  OptionParser parser("logs", "[-f] [-n LINES] [--kernel] ID",
                      "Show the last 256 KiB of what a microVM's command printed.");
  parser.flag("f,follow", "Go on until the microVM ends, over suspend and resume")
      .value("n,tail", "LINES", "Only so many of the last lines, or \"all\"; 0: only what comes")
      .flag("kernel", "The kernel's log instead")
      .words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  std::optional<uint32_t> lines;
  if (parser.get("tail", "all") != "all") {
    lines = parse_number_or_zero(parser.get("tail"));
    if (!lines) return parser.wrong("--tail: not a number of lines");
  }
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const auto source = parser.has("kernel") ? LogSource::kernel : LogSource::app;
  return parser.has("follow") ? follow(context, *vm, source, lines)
                              : show(context, *vm, source, lines);
}

}  // namespace cli
