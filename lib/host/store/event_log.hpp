// events.jsonl of a data directory: one line per event, appended by every process that has it open;
// at one megabyte it becomes events.jsonl.1.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "host/base/limits.hpp"
#include "microvm/event.hpp"

namespace microvm::host {

// Best effort: an event that cannot be written is lost, what it tells of has happened.
void append_event(const std::filesystem::path& data_dir, const VmEvent& event);

// What is there, oldest first; with `follow` also what comes, until the limits fire (error
// cancelled or deadline_exceeded). Lines that are none of ours are skipped.
Result<void> read_events(const std::filesystem::path& data_dir, bool follow,
                         const std::function<void(const VmEvent&)>& sink, const Limits& limits);

}  // namespace microvm::host
