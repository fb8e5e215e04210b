// A directory that stands for a guest's root and is removed with its content.
#pragma once

#include <fcntl.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/fd.hpp"

namespace microvm::agent {

class TemporaryRoot {
 public:
  TemporaryRoot() {
    std::string path = (std::filesystem::temp_directory_path() / "microvm-root.XXXXXX").string();
    path_ = mkdtemp(path.data());
    fd_.reset(open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  ~TemporaryRoot() { std::filesystem::remove_all(path_); }
  TemporaryRoot(const TemporaryRoot&) = delete;
  TemporaryRoot& operator=(const TemporaryRoot&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }
  // Below the root; `name` has no leading slash.
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
    return path_ / name;
  }

  void write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << content;
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream file(path_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::filesystem::path path_;
  base::Fd fd_;
};

}  // namespace microvm::agent
