// Foreign text in messages.
#pragma once

#include <string>
#include <string_view>

namespace microvm::host {

// Text of a worker or guest on one line, for a message.
std::string one_line(std::string_view text);

}  // namespace microvm::host
