#include <fmt/core.h>

#include <filesystem>
#include <sstream>

#include "command.hpp"
#include "each_id.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"
#include "subprocess.hpp"

namespace cli {
namespace {

using microvm::Error;
using microvm::ErrorCode;
using microvm::Result;

int import_deb(const Context& context, const std::filesystem::path& deb) {
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto kernel = runtime->import_kernel(deb, context.limits());
  if (!kernel) return fail(kernel.error());
  fmt::print("{}\n", kernel->name);
  return kOk;
}

int kernel_import(const Context& context, const Arguments& arguments) {
  OptionParser parser("kernel import", "DEB",
                      "Import the kernel of a Debian linux-image package; prints its name.");
  parser.words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  return import_deb(context, parser.found_words()[0]);
}

// 6.1 is bookworm's own kernel; newer series have packages named after them.
std::string meta_package(const std::string& series) {
  return series == "6.1" ? "linux-image-cloud-amd64" : "linux-image-" + series + "-cloud-amd64";
}

// The package with the kernel itself, which the series' package only depends on.
Result<std::string> find_package(const std::string& series) {
  const std::string meta = meta_package(series);
  const auto listing = run_program({"apt-cache", "depends", "--important", meta}, "/");
  if (!listing) {
    return tl::unexpected(Error{
        ErrorCode::not_found, "no package " + meta + ": is the series right? try apt-get update"});
  }
  std::istringstream lines(*listing);
  for (std::string word; lines >> word;) {
    if (word.starts_with("linux-image-") && word != meta) return word;
  }
  return tl::unexpected(Error{ErrorCode::not_found, meta + " depends on no kernel package"});
}

Result<std::filesystem::path> download(const std::string& package,
                                       const std::filesystem::path& directory) {
  // The directory is ours alone: apt's download user could not write there, and root would be told
  // so.
  if (auto done = run_program(
          {"apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package}, directory);
      !done) {
    return tl::unexpected(done.error());
  }
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ec)) {
    if (entry.path().extension() == ".deb") return entry.path();
  }
  return tl::unexpected(Error{ErrorCode::io, "apt-get download " + package + " left no file"});
}

int kernel_fetch(const Context& context, const Arguments& arguments) {
  OptionParser parser("kernel fetch", "[--series 6.12]",
                      "Download a Debian cloud kernel with apt-get and import it.");
  parser.value("series", "SERIES", "Kernel series, 6.12 (default) or 6.1");
  if (!parser.parse(arguments)) return parser.exit_code();
  const auto package = find_package(parser.get("series", "6.12"));
  if (!package) return fail(package.error());
  ScratchDirectory scratch;
  if (auto made = scratch.make(); !made) return fail(made.error());
  const auto deb = download(*package, scratch.path());
  if (!deb) return fail(deb.error());
  return import_deb(context, *deb);
}

int kernel_ls(const Context& context, const Arguments& arguments) {
  OptionParser parser("kernel ls", "[--json]", "List the imported kernels, newest import first.");
  parser.flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto kernels = runtime->kernels(context.limits());
  if (!kernels) return fail(kernels.error());
  if (parser.has("json")) {
    print_json(*kernels);
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "DIGEST", "SIZE"}};
  for (const auto& item : *kernels) {
    rows.push_back({item.name, item.digest.substr(0, 12), human_size(item.size_bytes)});
  }
  print_table(rows);
  return kOk;
}

int kernel_rm(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "kernel rm", "[-f] NAME…",
      "Remove kernels, by name or digest; refused while an image was built with one.");
  add_force(parser);
  parser.words(1, 1000);
  if (!parser.parse(arguments)) return parser.exit_code();
  const bool force = parser.has("force");
  return for_each_id(context, parser.found_words(), [&](auto& runtime, const auto& name) {
    const auto removed = runtime.remove_kernel(name, context.limits());
    if (!removed) return fail_removal(removed.error(), force);
    fmt::print("{}\n", name);
    return kOk;
  });
}

}  // namespace

int kernel(const Context& context, const Arguments& arguments) {
  static constexpr Command kCommands[] = {
      {"import", "Import the kernel of a linux-image .deb", kernel_import},
      {"fetch", "Download a Debian cloud kernel and import it", kernel_fetch},
      {"ls", "List the imported kernels", kernel_ls},
      {"rm", "Remove kernels", kernel_rm},
  };
  return dispatch(context, arguments, "kernel", kCommands);
}

}  // namespace cli
