// The flock on an entry's "in-use" file: shared by its users, exclusive for who takes it away.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/base/held_lock.hpp"
#include "host/base/limits.hpp"

namespace microvm::host {

inline constexpr const char* kInUseFile = "in-use";

// Waits for a removal in progress (one rename). `what` names the entry: "image counter:1".
// Errors: not_found.
[[nodiscard]] Result<base::Fd> lock_entry_shared(const std::filesystem::path& dir,
                                                 const std::string& what);
// Never waits. Errors: not_found, busy.
[[nodiscard]] Result<base::Fd> lock_entry_exclusive(const std::filesystem::path& dir,
                                                    const std::string& what);

// A lock on a file made for locking, held while names are given and taken away. Waits, and asks
// meanwhile whether it may.
[[nodiscard]] Result<HeldLock> lock_names(const std::filesystem::path& dir,
                                          const MayGoOn& may_go_on = {});

}  // namespace microvm::host
