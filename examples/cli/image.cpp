#include <fmt/core.h>

#include <optional>

#include "command.hpp"
#include "each_id.hpp"
#include "json.hpp"
#include "network_options.hpp"
#include "options.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace cli {
namespace {

using microvm::BuildOptions;

void add_build_options(OptionParser& parser) {
  parser.value("f,file", "FILE", "The Dockerfile (default: CONTEXT/Dockerfile)")
      .value("t,tag", "NAME", "Name of the image")
      .value("build-arg", "NAME=VALUE", "Set a build-time variable; may be repeated")
      .value("m,memory", "SIZE", "Memory of its microVMs (default: 512M)")
      .value("cpus", "N", "CPUs of its microVMs (default: 1)")
      .value("kernel", "NAME", "Kernel to boot (default: the newest import)")
      .value("ready-port", "PORT", "Ready when this port answers (default: the first EXPOSE)")
      .value("ready-timeout", "SECONDS", "Time the app has to become ready (default: 60)")
      .value("hooks-port", "PORT", "The app's port for the hooks")
      .value("hook", "NAME[=SECONDS]",
             "Call this hook of the app, with this time to answer; may be repeated")
      .value("network", "MODE", "Of RUN and the app: none or user (user)")
      .flag("host-proxy", "RUN finds the proxy variables of this process");
  add_policy_options(parser);
}

constexpr const char* kBuildNotes =
    "What a RUN leaves running in the background ends with it. An image need not have an app: "
    "without\n"
    "CMD and ENTRYPOINT, or with a command that ends at once with exit code 0 where no port or "
    "hook\n"
    "is waited for, its microVMs live until they are ended, for exec and shells.\n"
    "Hooks: ready, validate (60 s, at most 3600), run, suspend, resume (10 s), terminate (5 s; at\n"
    "most 60). Each is a POST to /microvm/runtime/v1/NAME in the microVM; 200 means done. A ready\n"
    "hook decides when the app is ready, instead of a port; it and validate may answer 503: ask\n"
    "again. When validate or run fail, so does the build or the run.";

// "suspend" or "suspend=30".
std::optional<std::string> read_hook(const std::string& text, microvm::Hooks& hooks) {
  const size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  for (const microvm::HookKind& kind : microvm::kHookKinds) {
    if (name != kind.name) continue;
    hooks.*kind.timeout = kind.usual;
    if (equals == std::string::npos) return std::nullopt;
    const auto seconds = parse_count(text.substr(equals + 1));
    if (!seconds) return "--hook " + name + ": not a number of seconds";
    hooks.*kind.timeout = std::chrono::seconds(*seconds);
    return std::nullopt;
  }
  return "--hook: there is no hook \"" + name + "\"";
}

std::optional<std::string> read_hooks(const OptionParser& parser, microvm::Hooks& hooks) {
  for (const std::string& text : parser.all("hook")) {
    if (auto problem = read_hook(text, hooks)) return problem;
  }
  if (parser.has("hook") != parser.has("hooks-port")) {
    return "--hook and --hooks-port need each other";
  }
  if (!parser.has("hooks-port")) return std::nullopt;
  const auto port = parse_port(parser.get("hooks-port"));
  if (!port) return "--hooks-port: not a port";
  hooks.port = *port;
  return std::nullopt;
}

// The problem with the options, if there is one.
std::optional<std::string> read_sizes(const OptionParser& parser, BuildOptions& build) {
  const auto memory = parse_size(parser.get("memory", "512M"));
  if (!memory) return "--memory: not a size like 512M";
  build.memory_bytes = *memory;
  const auto cpus = parse_count(parser.get("cpus", "1"));
  if (!cpus) return "--cpus: not a number";
  build.vcpus = *cpus;
  const auto timeout = parse_count(parser.get("ready-timeout", "60"));
  if (!timeout) return "--ready-timeout: not a number of seconds";
  build.ready_timeout = std::chrono::seconds(*timeout);
  if (!parser.has("ready-port")) return std::nullopt;
  const auto port = parse_port(parser.get("ready-port"));
  if (!port) return "--ready-port: not a port";
  build.ready_port = *port;
  return std::nullopt;
}

std::optional<std::string> read_build_options(const OptionParser& parser, BuildOptions& build) {
  if (!parser.has("tag")) return "give the image a name with -t NAME";
  build.context = parser.found_words()[0];
  build.tag = parser.get("tag");
  build.dockerfile = parser.get("file");
  build.kernel = parser.get("kernel");
  for (const std::string& argument : parser.all("build-arg")) {
    const size_t equals = argument.find('=');
    if (equals == 0 || equals == std::string::npos) return "--build-arg: not NAME=VALUE";
    build.build_args[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  if (auto problem = read_hooks(parser, build.hooks)) return problem;
  if (auto problem = read_network_options(parser, build.network)) return problem;
  build.host_proxy = parser.has("host-proxy");
  return read_sizes(parser, build);
}

int image_build(const Context& context, const Arguments& arguments) {
  OptionParser parser("image build", "-t NAME [OPTIONS] CONTEXT",
                      "Build an image from a Dockerfile: run its steps in a microVM, start its "
                      "command, and take a snapshot when the app is ready. Prints NAME:VERSION.",
                      std::string(kBuildNotes) + "\n" + kNetworkNotes);
  add_build_options(parser);
  parser.words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  BuildOptions build;
  if (const auto problem = read_build_options(parser, build)) return parser.wrong(*problem);
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  microvm::Result<microvm::ImageInfo> image;
  {
    ProgressPrinter progress;
    build.progress = progress.sink();
    image = runtime->build(build, context.limits());
  }
  if (!image) return fail(image.error());
  fmt::print("{}:{}\n", image->name, image->version);
  return kOk;
}

int image_ls(const Context& context, const Arguments& arguments) {
  OptionParser parser("image ls", "[--json]", "List the images.");
  parser.flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto images = runtime->images(context.limits());
  if (!images) return fail(images.error());
  if (parser.has("json")) {
    print_json(*images);
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "VERSION", "BASE", "CREATED", "MEMORY", "CPUS", "SIZE"}};
  for (const auto& item : *images) {
    rows.push_back({item.name, item.version, item.base, human_age(item.created),
                    human_size(item.memory_bytes), std::to_string(item.vcpus),
                    human_size(item.memory_data_bytes + item.disk_data_bytes)});
  }
  print_table(rows);
  return kOk;
}

int remove_version(const Context& context, microvm::Runtime& runtime, const std::string& reference,
                   bool force) {
  const auto image = runtime.image(reference);
  if (!image) return fail_removal(image.error(), force);
  const std::string version = image->name + ":" + image->version;
  const auto removed = runtime.remove_image(version, context.limits());
  if (!removed) return fail_removal(removed.error(), force);
  fmt::print("{}\n", version);
  return kOk;
}

int image_rm(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "image rm", "[-f] NAME[:VERSION]…", "Remove versions of images; prints NAME:VERSION of each.",
      "Without VERSION it is the newest, and NAME then means the one before. Refused "
      "while a\nmicroVM runs or sleeps on it, or a checkpoint needs it.");
  add_force(parser);
  parser.words(1, 1000);
  if (!parser.parse(arguments)) return parser.exit_code();
  return for_each_id(context, parser.found_words(), [&](auto& runtime, const auto& reference) {
    return remove_version(context, runtime, reference, parser.has("force"));
  });
}

using Convert = microvm::Result<microvm::ImageInfo> (microvm::Runtime::*)(
    const std::string&, const microvm::PackOptions&, const microvm::CallLimits&);

int convert(const Context& context, const Arguments& arguments, OptionParser parser,
            Convert convert_image) {
  parser.words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  ProgressPrinter progress;
  const auto image =
      ((*runtime).*convert_image)(parser.found_words()[0], {progress.sink()}, context.limits());
  if (!image) return fail(image.error());
  fmt::print("{}:{}\n", image->name, image->version);
  return kOk;
}

int image_pack(const Context& context, const Arguments& arguments) {
  return convert(context, arguments,
                 OptionParser("image pack", "NAME[:VERSION]",
                              "Compress an image's memory for keeping; unpack it to run it again."),
                 &microvm::Runtime::pack_image);
}

int image_unpack(const Context& context, const Arguments& arguments) {
  return convert(context, arguments,
                 OptionParser("image unpack", "NAME[:VERSION]", "Make a packed image runnable."),
                 &microvm::Runtime::unpack_image);
}

int image_inspect(const Context& context, const Arguments& arguments) {
  OptionParser parser("image inspect", "NAME[:VERSION]",
                      "Print everything about an image as JSON.");
  parser.words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto image = runtime->image(parser.found_words()[0]);
  if (!image) return fail(image.error());
  print_json(*image);
  return kOk;
}

}  // namespace

int image(const Context& context, const Arguments& arguments) {
  static constexpr Command kCommands[] = {
      {"build", "Build an image from a Dockerfile", image_build},
      {"ls", "List the images", image_ls},
      {"rm", "Remove versions of images", image_rm},
      {"pack", "Compress an image for keeping", image_pack},
      {"unpack", "Make a packed image runnable", image_unpack},
      {"inspect", "Print everything about an image", image_inspect},
  };
  return dispatch(context, arguments, "image", kCommands);
}

}  // namespace cli
