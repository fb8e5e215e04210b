// EventStream: the public handle over the reader of a data directory's events.
#pragma once

#include <memory>

#include "host/store/event_log.hpp"
#include "host/worker/directory_watches.hpp"
#include "microvm/event.hpp"

namespace microvm::host {

// Without `follow` nothing is watched.
Result<EventStream> open_events(const std::filesystem::path& data_dir, DirectoryWatches& watches,
                                const EventOptions& options);

}  // namespace microvm::host
