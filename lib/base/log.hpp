// Where the library's own messages go: a function the embedder gave, never a global.
#pragma once

#include <functional>
#include <string_view>

namespace microvm::base {

enum class LogLevel { debug, info, warning, error };

using LogSink = std::function<void(LogLevel, std::string_view)>;

}  // namespace microvm::base
