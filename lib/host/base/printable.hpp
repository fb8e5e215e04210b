// Foreign text in messages, listings and logs: of guests, images, files, workers and callers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace microvm::host {

// One line of valid UTF-8 that moves no cursor and hides nothing: line ends and tabs become blanks;
// other control characters, what changes the direction of writing, and bytes that are not UTF-8
// become "?". Of more than `max_bytes` the beginning, whole characters, then "...".
std::string printable(std::string_view text, size_t max_bytes = 1024);

}  // namespace microvm::host
