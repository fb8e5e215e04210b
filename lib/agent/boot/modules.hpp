// Kernel modules of the initramfs.
#pragma once

namespace microvm::agent {

// Loads all *.ko of a directory in the order of their names. One that does not load is reported
// with its name and skipped: whether it was needed shows soon.
void load_modules(const char* directory);

}  // namespace microvm::agent
