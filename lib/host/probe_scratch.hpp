// What the deep probe leaves behind: nothing, neither on the disk nor of its user in a report.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace microvm::host {

// A directory of our own, gone at the end.
class Scratch {
 public:
  // In `parent`; empty: where the system has its temporary files.
  static Result<Scratch> make(const std::filesystem::path& parent);
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch();

  [[nodiscard]] std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  explicit Scratch(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

// The text without paths (but those of /dev, /proc and /sys) and ids of microVMs.
[[nodiscard]] std::string without_names(const std::string& text);

}  // namespace microvm::host
