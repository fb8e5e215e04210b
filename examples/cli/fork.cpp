#include <fmt/core.h>

#include "command.hpp"
#include "idle_options.hpp"
#include "network_options.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {

int fork(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "fork", "[OPTIONS] ID", "Start microVMs that go on from where a running one is.",
      "They share its memory and disk until they write. Prints their ids; they stay like those of\n"
      "run -d, and as with those there is nobody to carry an idle policy out: of it they take\n"
      "--no-auto-resume alone, and nothing from the microVM that they come from. Its network and "
      "what\n"
      "it may reach they take, unless the line says anything of that.\n" +
          std::string(kNetworkNotes));
  parser.value("n,count", "COUNT", "How many (1)")
      .value("name", "NAME", "Of the fork; of several, the beginning of their names")
      .value("payload", "TEXT", "For the run hook of each")
      .words(1, 1);
  add_idle_options(parser, Lifetime::outlives_command);
  add_network_options(parser);
  if (!parser.parse(arguments)) return parser.exit_code();
  microvm::ForkOptions options;
  options.dies_with_owner = false;
  options.name = parser.get("name");
  options.run_hook_payload = parser.get("payload");
  if (auto problem = read_idle_options(parser, Lifetime::outlives_command, options.idle)) {
    return parser.wrong(*problem);
  }
  if (has_network_options(parser)) {
    if (auto problem = read_network_options(parser, options.network.emplace())) {
      return parser.wrong(*problem);
    }
  }
  const auto count = parse_count(parser.get("count", "1"));
  if (!count) return parser.wrong("the count is not a number");
  options.count = *count;
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const auto forks = vm->fork(options, context.limits());
  if (!forks) return fail(forks.error());
  for (const auto& fork : *forks) fmt::print("{}\n", fork.id());
  return kOk;
}

}  // namespace cli
