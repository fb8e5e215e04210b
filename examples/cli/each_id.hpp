// Commands that take several ids do one after the other, and go on after a failure.
#pragma once

#include <functional>
#include <string>

#include "command.hpp"

namespace cli {

// kFailed when the Runtime does not open or `one` gave anything but kOk for any of them.
int for_each_id(const Context& context, const Arguments& ids,
                const std::function<int(microvm::Runtime& runtime, const std::string& id)>& one);

}  // namespace cli
