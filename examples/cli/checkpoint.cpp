// Checkpoints: taken, listed, gone back to, made images.
#include <fmt/core.h>

#include <array>

#include "command.hpp"
#include "each_id.hpp"
#include "idle_options.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

Json to_json(const microvm::CheckpointInfo& info) {
  return {{"id", info.id},           {"name", info.name},
          {"vm_id", info.vm_id},     {"image", info.image},
          {"created", info.created}, {"memory_bytes", info.memory_bytes},
          {"vcpus", info.vcpus},     {"stored_bytes", info.stored_bytes}};
}

int create(const Context& context, const Arguments& arguments) {
  OptionParser parser("checkpoint create", "[--name NAME] [--json] ID",
                      "Keep the present state of a running microVM.");
  parser.value("name", "NAME", "Name usable instead of the id")
      .flag("json", "Print JSON")
      .words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const auto info = vm->checkpoint({parser.get("name")}, context.limits());
  if (!info) return fail(info.error());
  if (parser.has("json")) {
    print_json(to_json(*info));
  } else {
    fmt::print("{}\n", info->id);
  }
  return kOk;
}

int list(const Context& context, const Arguments& arguments) {
  OptionParser parser("checkpoint ls", "[--json]", "List the checkpoints.");
  parser.flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto infos = runtime->checkpoints(context.limits());
  if (!infos) return fail(infos.error());
  if (parser.has("json")) {
    std::vector<Json> all;
    for (const auto& info : *infos) all.push_back(to_json(info));
    print_json(all);
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {{"ID", "VM", "IMAGE", "CREATED", "SIZE", "NAME"}};
  for (const auto& info : *infos) {
    rows.push_back({info.id, info.vm_id, info.image, human_age(info.created),
                    human_size(info.stored_bytes), info.name});
  }
  print_table(rows);
  return kOk;
}

int remove(const Context& context, const Arguments& arguments) {
  OptionParser parser("checkpoint rm", "[-f] CHECKPOINT…", "Remove checkpoints.");
  add_force(parser);
  parser.words(1, 10000);
  if (!parser.parse(arguments)) return parser.exit_code();
  const bool force = parser.has("force");
  return for_each_id(context, parser.found_words(), [&](auto& runtime, const auto& id) {
    const auto removed = runtime.remove_checkpoint(id, context.limits());
    if (!removed) return fail_removal(removed.error(), force);
    fmt::print("{}\n", id);
    return kOk;
  });
}

// The new microVM stays, like one of run -d.
int run(const Context& context, const Arguments& arguments) {
  OptionParser parser("checkpoint run", "[OPTIONS] CHECKPOINT",
                      "Start a new microVM from a checkpoint; it stays like one of run -d.");
  parser.value("name", "NAME", "Name of the microVM")
      .value("payload", "TEXT", "For the image's run hook")
      .words(1, 1);
  add_idle_options(parser, Lifetime::outlives_command);
  if (!parser.parse(arguments)) return parser.exit_code();
  microvm::RunOptions options;
  options.name = parser.get("name");
  options.run_hook_payload = parser.get("payload");
  if (auto problem = read_idle_options(parser, Lifetime::outlives_command, options.idle)) {
    return parser.wrong(*problem);
  }
  options.dies_with_owner = false;
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto vm = runtime->run_checkpoint(parser.found_words()[0], options, context.limits());
  if (!vm) return fail(vm.error());
  fmt::print("{}\n", vm->id());
  return kOk;
}

constexpr std::array kCheckpointCommands = {
    Command{"create", "Keep the present state of a running microVM", create},
    Command{"ls", "List the checkpoints", list},
    Command{"run", "Start a microVM from a checkpoint", run},
    Command{"rm", "Remove checkpoints", remove},
};

}  // namespace

int checkpoint(const Context& context, const Arguments& arguments) {
  return dispatch(context, arguments, "checkpoint", kCheckpointCommands);
}

int rollback(const Context& context, const Arguments& arguments) {
  OptionParser parser("rollback", "ID CHECKPOINT", "Take a microVM back to one of its checkpoints.",
                      "What it did since is lost.");
  parser.words(2, 2);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const auto done = vm->rollback(parser.found_words()[1], context.limits());
  if (!done) return fail(done.error());
  fmt::print("{}\n", parser.found_words()[0]);
  return kOk;
}

int commit(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "commit", "ID|CHECKPOINT IMAGE",
      "Make a microVM's present state, or a checkpoint, the next version of an image.");
  parser.words(2, 2);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  std::string checkpoint = parser.found_words()[0];
  std::string temporary;
  auto vm = runtime->attach(checkpoint);
  if (!vm && vm.error().code != microvm::ErrorCode::not_found) return fail(vm.error());
  if (vm) {
    const auto taken = vm->checkpoint({}, context.limits());
    if (!taken) return fail(taken.error());
    checkpoint = temporary = taken->id;
  }
  const auto image = runtime->commit(checkpoint, parser.found_words()[1], context.limits());
  if (!temporary.empty()) static_cast<void>(runtime->remove_checkpoint(temporary));
  if (!image) return fail(image.error());
  fmt::print("{}:{}\n", image->name, image->version);
  return kOk;
}

}  // namespace cli
