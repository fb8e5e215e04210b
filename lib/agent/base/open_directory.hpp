// A directory that is read name by name.
#pragma once

#include <dirent.h>

#include <string_view>
#include <utility>

#include "base/fd.hpp"

namespace microvm::agent {

class OpenDirectory {
 public:
  // Of a descriptor that can be read; false afterwards when it is none, errno says why.
  explicit OpenDirectory(base::Fd fd) : stream_(fd ? fdopendir(fd.get()) : nullptr) {
    if (stream_ != nullptr) static_cast<void>(fd.release());
  }
  OpenDirectory(OpenDirectory&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  OpenDirectory& operator=(OpenDirectory&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~OpenDirectory() {
    if (stream_ != nullptr) closedir(stream_);
  }

  explicit operator bool() const { return stream_ != nullptr; }
  [[nodiscard]] int fd() const { return dirfd(stream_); }
  // Without "." and ".."; null at the end. Valid until the next call.
  [[nodiscard]] const char* next() {
    while (const dirent* entry = readdir(stream_)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") return entry->d_name;
    }
    return nullptr;
  }

 private:
  DIR* stream_;
};

}  // namespace microvm::agent
