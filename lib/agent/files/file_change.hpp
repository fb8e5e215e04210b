// The file operations that change something: each is FileRequest's action of that name.
#pragma once

#include "agent/link/channel.hpp"

namespace microvm::agent {

// The data frames that follow become the content, in one step. What is not said of mode and owner
// stays as it was with an old file; a new one is root's, 0644.
[[nodiscard]] Outcome<void> write_new_content(int root, Channel& channel,
                                              const microvm_agent_FileRequest& request);
// As the frames come; what was written before a failure stays. The first `written` bytes that come
// are there already, by an attempt before; it grows with what is written.
[[nodiscard]] Outcome<void> append_content(int root, Channel& channel,
                                           const microvm_agent_FileRequest& request,
                                           uint64_t& written);
[[nodiscard]] Outcome<void> make_directory(int root, const microvm_agent_FileRequest& request);
[[nodiscard]] Outcome<void> remove_file(int root, const microvm_agent_FileRequest& request);
[[nodiscard]] Outcome<void> rename_file(int root, const microvm_agent_FileRequest& request);

}  // namespace microvm::agent
