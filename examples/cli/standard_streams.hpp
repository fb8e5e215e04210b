// What a process has as 0, 1 and 2 when who started it gave it less.
#pragma once

namespace cli {

// Opens /dev/null for each that is missing: input that has ended, output that nobody wants. Before
// anything else is opened, which would take their place.
void open_missing_streams();

}  // namespace cli
