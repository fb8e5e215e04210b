// Commands that take several ids do one after the other, and go on after a failure.
#pragma once

#include <functional>
#include <string>

#include "command.hpp"
#include "options.hpp"

namespace cli {

// kFailed when the Runtime does not open, `one` gave anything but kOk for any of them, or the user
// has cancelled.
int for_each_id(const Context& context, const Arguments& ids,
                const std::function<int(microvm::Runtime& runtime, const std::string& id)>& one);

// The flag -f of commands that remove.
void add_force(OptionParser& parser);
// Says why something was not removed. With `force`, and when there was no such thing, that is no
// failure: kOk.
int fail_removal(const microvm::Error& error, bool force);

}  // namespace cli
