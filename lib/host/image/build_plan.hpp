// What a Dockerfile will do, found out before anything is booted: every instruction is expanded and
// checked, COPY sources are looked up, so that mistakes cost milliseconds.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.hpp"
#include "host/image/context.hpp"
#include "host/image/dockerfile.hpp"
#include "host/image/step_runner.hpp"
#include "microvm/image.hpp"

namespace microvm::host {

// COPY and ADD. With one source whose target is not marked as a directory (no trailing slash) the
// target may still be an existing directory of the guest: that is asked when the step runs.
struct CopyStep {
  std::vector<BuildContext::Source> sources;
  std::vector<FileToPut> inline_files;  // heredocs; path is the file's name only
  std::string target;                   // absolute, without trailing slash
  bool target_is_directory = false;
  std::string owner;  // --chown as written
  std::string mode;   // --chmod, octal digits
};

struct MakeDirectoryStep {
  std::string path;
};

struct PlannedStep {
  int line = 0;
  std::string title;  // the instruction on one line
  std::variant<StepCommand, CopyStep, MakeDirectoryStep> action;
};

struct BuildPlan {
  std::string base;  // what FROM names
  std::vector<PlannedStep> steps;
  ImageConfig config;
};

inline constexpr const char* kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Build arguments that each RUN sees as variables, without an ARG.
inline constexpr std::array<std::string_view, 10> kProxyVariables = {
    "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ftp_proxy",
    "FTP_PROXY",  "no_proxy",   "NO_PROXY",    "all_proxy",   "ALL_PROXY"};

// Errors: syntax or what the context says, always with file:line.
Result<BuildPlan> plan_build(const Dockerfile& file, const BuildContext& context,
                             const std::map<std::string, std::string>& build_args);

// What the image runs: ENTRYPOINT followed by CMD; empty: nothing.
[[nodiscard]] std::vector<std::string> image_command(const ImageConfig& config);

}  // namespace microvm::host
