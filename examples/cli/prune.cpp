#include <fmt/core.h>
#include <unistd.h>

#include <iostream>

#include "command.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

using microvm::PruneOptions;
using microvm::PruneReport;

void print_items(const PruneReport& report) {
  if (report.items.empty()) return;
  std::vector<std::vector<std::string>> rows = {{"KIND", "NAME", "SIZE"}};
  for (const auto& item : report.items) {
    rows.push_back({pruned_kind_name(item.kind), item.name, human_size(item.bytes)});
  }
  print_table(rows);
  fmt::print("\n");
}

Json to_json(const PruneReport& report, bool dry_run) {
  std::vector<Json> items;
  for (const auto& item : report.items) {
    items.push_back(
        {{"kind", pruned_kind_name(item.kind)}, {"name", item.name}, {"bytes", item.bytes}});
  }
  return {{"dry_run", dry_run}, {"bytes", report.bytes}, {"items", items}};
}

int show(const PruneReport& report, const OptionParser& parser) {
  const bool dry_run = parser.has("dry-run");
  if (parser.has("json")) {
    print_json(to_json(report, dry_run));
    return kOk;
  }
  print_items(report);
  fmt::print("Total {} space: {}\n", dry_run ? "reclaimable" : "reclaimed",
             human_size(report.bytes));
  return kOk;
}

// Shows what would go. False: it is to stay.
bool confirm(const PruneReport& would_go) {
  print_items(would_go);
  fmt::print("This removes {} things and frees {}. Continue? [y/N] ", would_go.items.size(),
             human_size(would_go.bytes));
  std::fflush(stdout);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace

int prune(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "prune", "[--dry-run] [-f] [--images] [--all] [--json]",
      "Free what nothing needs any more: records of ended microVMs, leftovers of killed processes, "
      "files that no saved state names. What a microVM, a checkpoint or an image needs stays.");
  parser.flag("dry-run", "Only show what would go")
      .flag("f,force", "Do not ask")
      .flag("images", "Also image versions that are not the newest and that nothing needs")
      .flag("a,all", "--images, and bases and kernels that no image was built with")
      .flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  PruneOptions options{.dry_run = parser.has("dry-run"),
                       .images = parser.has("images") || parser.has("all"),
                       .bases_and_kernels = parser.has("all")};
  const bool ask = !options.dry_run && !parser.has("force");
  if (ask && (parser.has("json") || ::isatty(STDIN_FILENO) == 0)) {
    return parser.wrong("nobody to ask: use -f to free it, --dry-run to look");
  }
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  if (ask) {
    PruneOptions look = options;
    look.dry_run = true;
    const auto would_go = runtime->prune(look, context.limits());
    if (!would_go) return fail(would_go.error());
    if (would_go->items.empty()) return show(*would_go, parser);
    if (!confirm(*would_go)) return kFailed;
  }
  const auto report = runtime->prune(options, context.limits());
  if (!report) return fail(report.error());
  return show(*report, parser);
}

}  // namespace cli
