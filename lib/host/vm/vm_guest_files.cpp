// Files of a Vm's guest.
#include "host/session/guest_files.hpp"
#include "host/session/watch.hpp"
#include "host/transfer/directory_sink.hpp"
#include "host/transfer/guest_path.hpp"
#include "host/transfer/tar_sink.hpp"
#include "host/transfer/upload.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::AgentClient;
using host::GuestFiles;
using host::Limits;

namespace {

// A guest that is alive does one thing to one file within this, however slow.
constexpr std::chrono::seconds kFileCallLimit{60};
// Removing a tree takes as long as there are files in it.
constexpr std::chrono::minutes kRemoveLimit{30};

// with_agent() for what must not be done twice: it wakes the Vm, but what has begun when it falls
// asleep is not begun again.
template <class Use>
auto once(Vm::Impl& impl, const Limits& limits, std::string_view what, Use&& use)
    -> decltype(use(std::declval<AgentClient&>())) {
  struct Done {
    decltype(use(std::declval<AgentClient&>())) result;
  };
  auto done = impl.with_agent(limits, what,
                              [&](AgentClient& agent) -> Result<Done> { return Done{use(agent)}; });
  if (!done) return base::fail(done.error());
  return std::move(done->result);
}

DataSource source_of(std::span<const std::byte> content) {
  return [content](std::span<std::byte> out) mutable -> Result<size_t> {
    const auto piece = content.first(std::min(content.size(), out.size()));
    std::ranges::copy(piece, out.begin());
    content = content.subspan(piece.size());
    return piece.size();
  };
}

Result<std::vector<std::byte>> collect(GuestFiles files, const std::string& path,
                                       const ReadFileOptions& options, const Limits& limits) {
  std::vector<std::byte> content;
  const auto info = files.read(
      path, options,
      [&](std::span<const std::byte> piece) -> Result<void> {
        content.insert(content.end(), piece.begin(), piece.end());
        return {};
      },
      limits);
  if (!info) return base::fail(info.error());
  return content;
}

Result<void> check_guest_path(const std::string& path) {
  if (path.starts_with('/')) return {};
  return base::fail(ErrorCode::invalid_argument, "\"" + path + "\" is not an absolute path");
}

}  // namespace

Result<std::vector<std::byte>> Vm::read_file(const std::string& path,
                                             const ReadFileOptions& options,
                                             const CallLimits& limits) {
  const Limits bounded(limits);
  return impl_->with_agent(bounded, "read a file", [&](AgentClient& agent) {
    return collect(GuestFiles(agent.link()), path, options, bounded);
  });
}

Result<FileInfo> Vm::read_file_to(const std::string& path, const DataSink& sink,
                                  const ReadFileOptions& options, const CallLimits& limits) {
  const Limits bounded(limits);
  return once(*impl_, bounded, "read a file", [&](AgentClient& agent) {
    return GuestFiles(agent.link()).read(path, options, sink, bounded);
  });
}

Result<void> Vm::write_file(const std::string& path, std::span<const std::byte> content,
                            const WriteFileOptions& options, const CallLimits& limits) {
  return write_file_from(path, source_of(content), options, limits);
}

Result<void> Vm::write_file_from(const std::string& path, const DataSource& source,
                                 const WriteFileOptions& options, const CallLimits& limits) {
  const Limits bounded(limits);
  return once(*impl_, bounded, "write a file", [&](AgentClient& agent) {
    return GuestFiles(agent.link())
        .write(path, GuestFiles::Content::replaces, source, options, bounded);
  });
}

Result<void> Vm::append_file(const std::string& path, std::span<const std::byte> content,
                             const WriteFileOptions& options, const CallLimits& limits) {
  const Limits bounded(limits);
  return once(*impl_, bounded, "append to a file", [&](AgentClient& agent) {
    return GuestFiles(agent.link())
        .write(path, GuestFiles::Content::is_appended, source_of(content), options, bounded);
  });
}

Result<FileInfo> Vm::stat_file(const std::string& path, const StatFileOptions& options,
                               const CallLimits& limits) {
  const Limits bounded(limits, kFileCallLimit);
  return impl_->with_agent(bounded, "look at a file", [&](AgentClient& agent) {
    return GuestFiles(agent.link()).stat(path, options.follow_link, bounded);
  });
}

Result<std::vector<FileInfo>> Vm::list_files(const std::string& path,
                                             const ListFilesOptions& options,
                                             const CallLimits& limits) {
  const Limits bounded(limits);
  return impl_->with_agent(bounded, "list files", [&](AgentClient& agent) {
    return GuestFiles(agent.link()).list(path, options.max_entries, bounded);
  });
}

Result<void> Vm::make_directory(const std::string& path, const MakeDirectoryOptions& options,
                                const CallLimits& limits) {
  const Limits bounded(limits, kFileCallLimit);
  return once(*impl_, bounded, "make a directory", [&](AgentClient& agent) {
    return GuestFiles(agent.link()).make_directory(path, options, bounded);
  });
}

Result<void> Vm::remove_file(const std::string& path, const RemoveFileOptions& options,
                             const CallLimits& limits) {
  const Limits bounded(limits, kRemoveLimit);
  return once(*impl_, bounded, "remove a file", [&](AgentClient& agent) {
    return GuestFiles(agent.link()).remove(path, options, bounded);
  });
}

Result<void> Vm::rename_file(const std::string& path, const std::string& new_path,
                             const RenameFileOptions& options, const CallLimits& limits) {
  const Limits bounded(limits, kFileCallLimit);
  return once(*impl_, bounded, "rename a file", [&](AgentClient& agent) {
    return GuestFiles(agent.link()).rename(path, new_path, options, bounded);
  });
}

Result<Watch> Vm::watch(const std::string& path, const WatchOptions& options,
                        const CallLimits& limits) {
  const Limits bounded(limits, kFileCallLimit);
  return impl_->with_agent(bounded, "watch files", [&](AgentClient& agent) {
    return host::open_watch(agent.link(), path, options, bounded);
  });
}

Result<TransferTotals> Vm::download(const std::string& path, const std::filesystem::path& directory,
                                    const DownloadOptions& options, const CallLimits& limits) {
  const Limits bounded(limits);
  if (auto ok = check_guest_path(path); !ok) return base::fail(ok.error());
  auto name = host::top_name(options.name, path);
  if (!name) return base::fail(name.error());
  const auto owners = options.keep_owner ? host::Owners::kept : host::Owners::mine;
  auto sink = host::DirectorySink::open(directory, std::move(*name), owners);
  if (!sink) return base::fail(sink.error());
  auto totals = once(*impl_, bounded, "copy files from the guest", [&](AgentClient& agent) {
    return host::get_tree(agent.link(), path, options, *sink, bounded);
  });
  if (!totals) return totals;
  if (auto done = sink->finish(); !done) return base::fail(done.error());
  return totals;
}

Result<TransferTotals> Vm::download_tar(const std::string& path, const DataSink& tar,
                                        const DownloadOptions& options, const CallLimits& limits) {
  const Limits bounded(limits);
  if (auto ok = check_guest_path(path); !ok) return base::fail(ok.error());
  auto name = host::top_name(options.name, path);
  if (!name) return base::fail(name.error());
  host::TarSink sink(tar, std::move(*name));
  if (auto opened = sink.open(); !opened) return base::fail(opened.error());
  auto totals = once(*impl_, bounded, "copy files from the guest", [&](AgentClient& agent) {
    return host::get_tree(agent.link(), path, options, sink, bounded);
  });
  if (!totals) return totals;
  if (auto done = sink.finish(); !done) return base::fail(done.error());
  return totals;
}

Result<TransferTotals> Vm::upload(const std::filesystem::path& path, const std::string& directory,
                                  const UploadOptions& options, const CallLimits& limits) {
  const Limits bounded(limits);
  if (auto ok = check_guest_path(directory); !ok) return base::fail(ok.error());
  return once(*impl_, bounded, "copy files into the guest", [&](AgentClient& agent) {
    return host::upload_tree(agent.link(), path, directory, options, bounded);
  });
}

Result<TransferTotals> Vm::upload_tar(const DataSource& tar, const std::string& directory,
                                      const UploadOptions& options, const CallLimits& limits) {
  const Limits bounded(limits);
  if (auto ok = check_guest_path(directory); !ok) return base::fail(ok.error());
  return once(*impl_, bounded, "copy files into the guest", [&](AgentClient& agent) {
    return host::upload_tar(agent.link(), tar, directory, options, bounded);
  });
}

}  // namespace microvm
