// Runs a program of the host and collects what it prints.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "microvm/error.hpp"

namespace cli {

// Its standard output; what it says on standard error goes to ours. `directory`: where it runs.
microvm::Result<std::string> run_program(const std::vector<std::string>& argv,
                                         const std::filesystem::path& directory);

// A directory that is removed with what is in it.
class ScratchDirectory {
 public:
  ScratchDirectory() = default;
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  microvm::Result<void> make();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace cli
