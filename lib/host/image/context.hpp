// The directory a build may read: what COPY names is looked up in it and nowhere else.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/image/pattern.hpp"
#include "host/image/step_runner.hpp"

namespace microvm::host {

inline constexpr size_t kMaxContextFiles = 200'000;

class BuildContext {
 public:
  // Reads .dockerignore when there is one. Errors: not_found, invalid_argument (not a directory),
  // syntax and whatever else says that the rules of a .dockerignore are not known.
  static Result<BuildContext> open(const std::filesystem::path& directory);

  struct Source {
    std::string path;  // relative to the context, no links in it; "" is the context itself
    bool directory = false;
  };

  // What one COPY source names: one entry, or one per match of a pattern, sorted. Errors:
  // not_found, invalid_argument (outside the context).
  [[nodiscard]] Result<std::vector<Source>> resolve(const std::string& source) const;

  // Appends the source as it will stand at `target` in the guest: a file at exactly that path, a
  // directory's content below it. Times are the files' own, modes too; owner is left 0:0.
  Result<void> collect(const Source& source, const std::string& target,
                       std::vector<FileToPut>& out) const;

 private:
  BuildContext() = default;
  [[nodiscard]] Result<Source> resolve_one(const std::string& path) const;
  Result<void> collect_directory(const std::filesystem::path& relative, const std::string& target,
                                 std::vector<FileToPut>& out) const;

  std::filesystem::path root_;  // canonical
  base::Fd root_fd_;
  IgnoreRules ignore_;
};

}  // namespace microvm::host
