// Single files of the guest. Every call is one operation of its own; what comes from the agent is
// bounded and may be anything. A stream may take as long as it needs, but must move: an agent that
// is silent for two minutes is deadline_exceeded.
#pragma once

#include <optional>
#include <vector>

#include "host/session/agent_client.hpp"
#include "host/session/file_change.hpp"
#include "host/session/operation.hpp"
#include "microvm/files.hpp"
#include "wire/agent.pb.h"

namespace microvm::host {

inline constexpr std::chrono::seconds kSilenceLimit{120};

// Error: protocol, when the kind is none that exists.
Result<FileInfo> to_file_info(const microvm_agent_FileEntry& entry);

// Of what a suspend cut short and can not be begun again.
Error asleep_meanwhile(std::string_view what);

class GuestFiles {
 public:
  // `change` is what a call that changes something is an attempt at; with none it may be done
  // twice when it is begun twice.
  explicit GuestFiles(std::shared_ptr<AgentLink> link, FileChange* change = nullptr)
      : link_(std::move(link)), change_(change) {}

  Result<FileInfo> stat(const std::string& path, bool follow, const Limits& limits);
  // By name, sorted. Error: invalid_argument when there are more than `max_entries`.
  Result<std::vector<FileInfo>> list(const std::string& path, uint64_t max_entries,
                                     const Limits& limits);
  // Returns what is known of the file; the data went to the sink.
  Result<FileInfo> read(const std::string& path, const ReadFileOptions& options,
                        const DataSink& sink, const Limits& limits);
  enum class Content { replaces, is_appended };
  Result<void> write(const std::string& path, Content content, const DataSource& source,
                     const WriteFileOptions& options, const Limits& limits);
  Result<void> make_directory(const std::string& path, const MakeDirectoryOptions& options,
                              const Limits& limits);
  Result<void> remove(const std::string& path, const RemoveFileOptions& options,
                      const Limits& limits);
  Result<void> rename(const std::string& path, const std::string& new_path,
                      const RenameFileOptions& options, const Limits& limits);

 private:
  Result<Operation> begin(const char* what, const microvm_agent_FileRequest& request,
                          const Limits& limits);
  // Nothing when an attempt before has done it. Error: vm_suspended, when an attempt before may
  // have done it and the agent is too old to tell. `answer_limits`: the agent does not answer while
  // an attempt before is still at it.
  Result<std::optional<Operation>> begin_change(const char* what,
                                                microvm_agent_FileRequest& request,
                                                const Limits& limits, const Limits& answer_limits);
  Result<void> ask(const char* what, microvm_agent_FileRequest& request, const Limits& limits);

  std::shared_ptr<AgentLink> link_;
  FileChange* change_;
};

}  // namespace microvm::host
