// Reads a Debian package (an ar archive of tar archives) as a stream, without unpacking it to disk.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "host/base/limits.hpp"
#include "host/image/bytes.hpp"

namespace microvm::host {

struct DebVisitor {
  // Asked for every regular file of the package ("boot/vmlinuz-…", without "./").
  std::function<bool(const std::string& path)> wants;
  std::function<void(const std::string& path, Bytes content)> take;
  size_t max_file_bytes = 0;
};

// Errors: corrupt (not a package, truncated), unsupported (`architecture` is another one).
[[nodiscard]] Result<void> read_deb(const std::filesystem::path& deb,
                                    const std::string& architecture, const DebVisitor& visitor,
                                    const CallCheck& check);

}  // namespace microvm::host
