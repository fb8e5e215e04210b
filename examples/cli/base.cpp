#include <fmt/core.h>

#include "command.hpp"
#include "each_id.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace cli {
namespace {

int base_import(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "base import", "[--disk-size SIZE] NAME TAR",
      "Make a base image, which a Dockerfile's FROM can name, from the tar of a root "
      "file system, as docker export CONTAINER writes it; prints its digest.");
  parser.value("disk-size", "SIZE", "Root disk of the microVMs, 16M to 4T (default: 8G)");
  parser.words(2, 2);
  if (!parser.parse(arguments)) return parser.exit_code();
  const auto disk_size = parse_size(parser.get("disk-size", "8G"));
  if (!disk_size) return parser.wrong("--disk-size: not a size like 8G");
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto& words = parser.found_words();
  ProgressPrinter progress;
  const auto base = runtime->import_base(words[0], words[1],
                                         {.disk_bytes = *disk_size, .progress = progress.sink()},
                                         context.limits());
  if (!base) return fail(base.error());
  fmt::print("{}\n", base->digest);
  return kOk;
}

int base_ls(const Context& context, const Arguments& arguments) {
  OptionParser parser("base ls", "[--json]", "List the base images.");
  parser.flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto bases = runtime->bases(context.limits());
  if (!bases) return fail(bases.error());
  if (parser.has("json")) {
    print_json(*bases);
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "DIGEST", "DISK"}};
  for (const auto& item : *bases) {
    rows.push_back({item.name, item.digest.substr(0, 12), human_size(item.size_bytes)});
  }
  print_table(rows);
  return kOk;
}

int base_rm(const Context& context, const Arguments& arguments) {
  OptionParser parser("base rm", "[-f] NAME…",
                      "Remove base images; refused while an image was built on one.");
  add_force(parser);
  parser.words(1, 1000);
  if (!parser.parse(arguments)) return parser.exit_code();
  const bool force = parser.has("force");
  return for_each_id(context, parser.found_words(), [&](auto& runtime, const auto& name) {
    const auto removed = runtime.remove_base(name, context.limits());
    if (!removed) return fail_removal(removed.error(), force);
    fmt::print("{}\n", name);
    return kOk;
  });
}

}  // namespace

int base(const Context& context, const Arguments& arguments) {
  static constexpr Command kCommands[] = {
      {"import", "Import the tar of a root file system", base_import},
      {"ls", "List the base images", base_ls},
      {"rm", "Remove base images", base_rm},
  };
  return dispatch(context, arguments, "base", kCommands);
}

}  // namespace cli
