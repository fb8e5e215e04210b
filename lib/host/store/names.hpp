// Names of images and bases, and the file names they become.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace microvm::host {

// [a-z0-9][a-z0-9._/-]{0,127}
[[nodiscard]] bool is_image_name(std::string_view name) noexcept;
// An image name, optionally with ":tag", tag = [A-Za-z0-9_][A-Za-z0-9._-]{0,127}.
[[nodiscard]] bool is_base_name(std::string_view name) noexcept;
// [0-9a-f]{12}
[[nodiscard]] bool is_vm_id(std::string_view id) noexcept;
// A file inside an entry: [a-zA-Z0-9][a-zA-Z0-9._+-]{0,127}; never a path.
[[nodiscard]] bool is_plain_file_name(std::string_view name) noexcept;

struct ImageReference {
  std::string name;
  uint64_t version = 0;  // 0: the newest
};
// "name" or "name:version". Error: invalid_argument.
[[nodiscard]] Result<ImageReference> parse_image_reference(std::string_view text);
// A version as it stands in a directory name or reference: decimal, no leading zero, 1 … 10^15.
[[nodiscard]] std::optional<uint64_t> parse_version(std::string_view text) noexcept;

// A name as one path component ('/' becomes '%', which no name contains), and back.
[[nodiscard]] std::string name_to_file(std::string_view name);
[[nodiscard]] std::string file_to_name(std::string_view file);

}  // namespace microvm::host
