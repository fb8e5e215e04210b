#include <fmt/core.h>

#include "command.hpp"
#include "options.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace cli {
namespace {

int base_import(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "base import", "NAME TAR",
      "Make a base image, which a Dockerfile's FROM can name, from the tar of a root "
      "file system; prints its digest.");
  parser.words(2, 2);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto& words = parser.found_words();
  ProgressPrinter progress;
  const auto base = runtime->import_base(words[0], words[1], progress.sink(), context.limits());
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
  const auto bases = runtime->bases();
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

}  // namespace

int base(const Context& context, const Arguments& arguments) {
  static constexpr Command kCommands[] = {
      {"import", "Import the tar of a root file system", base_import},
      {"ls", "List the base images", base_ls},
  };
  return dispatch(context, arguments, "base", kCommands);
}

}  // namespace cli
