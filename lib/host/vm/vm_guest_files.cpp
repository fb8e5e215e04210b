// Files of a Vm's guest.
#include <optional>

#include "host/session/guest_files.hpp"
#include "host/session/watch.hpp"
#include "host/transfer/directory_sink.hpp"
#include "host/transfer/guest_path.hpp"
#include "host/transfer/tar_sink.hpp"
#include "host/transfer/target_link.hpp"
#include "host/transfer/upload.hpp"
#include "host/vm/vm_impl.hpp"
#include "host/vm/vm_stream_home.hpp"

namespace microvm {

using host::AgentClient;
using host::FileChange;
using host::GuestFiles;
using host::Limits;

namespace {

// A guest that is alive does one thing to one file within this, however slow.
constexpr std::chrono::seconds kFileCallLimit{60};
// Removing a tree takes as long as there are files in it.
constexpr std::chrono::minutes kRemoveLimit{30};

bool is_cut_off(const Error& error) {
  return error.code == ErrorCode::vm_gone || error.code == ErrorCode::vm_suspended;
}

// Calls `use` with the agent, again when the Vm fell asleep under it, as long as `may_repeat` says
// so. What can not be begun again ends with vm_suspended.
template <class Use, class MayRepeat>
auto again_while(Vm::Impl& impl, const Limits& limits, std::string_view what, Use&& use,
                 MayRepeat&& may_repeat) -> decltype(use(std::declval<AgentClient&>())) {
  struct Done {
    decltype(use(std::declval<AgentClient&>())) result;
  };
  auto done = impl.with_agent(limits, what, [&](AgentClient& agent) -> Result<Done> {
    auto result = use(agent);
    if (!result && is_cut_off(result.error()) && may_repeat()) return base::fail(result.error());
    return Done{std::move(result)};
  });
  if (!done) return base::fail(done.error());
  auto& result = done->result;
  if (!result && is_cut_off(result.error()) && !impl.ended()) {
    return base::fail(host::asleep_meanwhile(what));
  }
  return std::move(result);
}

// A change of files: each attempt is one at the same change, which is done once.
template <class Use>
Result<void> change_files(Vm::Impl& impl, const Limits& limits, std::string_view what, Use&& use) {
  auto change = FileChange::make();
  if (!change) return base::fail(change.error());
  return again_while(
      impl, limits, what,
      [&](AgentClient& agent) { return use(GuestFiles(agent.link(), &*change)); },
      [] { return true; });
}

// What a caller's function takes or gives can not be had again.
class TakenOnce {
 public:
  explicit TakenOnce(const DataSource& source) : source_(&source) {}
  explicit TakenOnce(const DataSink& sink) : sink_(&sink) {}

  // For one attempt. One that needs what an attempt before has taken finds the end of its Vm.
  DataSource source() {
    return [this, taken_before = is_taken_](std::span<std::byte> out) -> Result<size_t> {
      needed_again_ = taken_before;
      if (needed_again_) return base::fail(ErrorCode::vm_suspended, "the source was read already");
      is_taken_ = true;
      return (*source_)(out);
    };
  }
  DataSink sink() {
    return [this](std::span<const std::byte> bytes) {
      is_taken_ = true;
      auto taken = (*sink_)(bytes);
      if (!taken) sink_failed_ = taken.error();
      return taken;
    };
  }
  // The sink's own error is what its call returns, also where it is one of another Vm's end.
  template <class T>
  Result<T> result_of(Result<T> result) const {
    if (!result && sink_failed_) return base::fail(*sink_failed_);
    return result;
  }

  [[nodiscard]] bool is_taken() const { return is_taken_; }
  [[nodiscard]] bool is_needed_again() const { return needed_again_; }

 private:
  const DataSource* source_ = nullptr;
  const DataSink* sink_ = nullptr;
  bool is_taken_ = false;
  bool needed_again_ = false;
  std::optional<Error> sink_failed_;
};

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
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  return impl_->with_agent(bounded, "read a file", [&](AgentClient& agent) {
    return collect(GuestFiles(agent.link()), path, options, bounded);
  });
}

Result<FileInfo> Vm::read_file_to(const std::string& path, const DataSink& sink,
                                  const ReadFileOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  TakenOnce once(sink);
  return once.result_of(again_while(
      *impl_, bounded, "read a file",
      [&](AgentClient& agent) {
        return GuestFiles(agent.link()).read(path, options, once.sink(), bounded);
      },
      [&] { return !once.is_taken(); }));
}

Result<void> Vm::write_file(const std::string& path, std::span<const std::byte> content,
                            const WriteFileOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  return change_files(*impl_, bounded, "write a file", [&](GuestFiles files) {
    return files.write(path, GuestFiles::Content::replaces, source_of(content), options, bounded);
  });
}

Result<void> Vm::write_file_from(const std::string& path, const DataSource& source,
                                 const WriteFileOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  auto change = FileChange::make();
  if (!change) return base::fail(change.error());
  TakenOnce once(source);
  return again_while(
      *impl_, bounded, "write a file",
      [&](AgentClient& agent) {
        return GuestFiles(agent.link(), &*change)
            .write(path, GuestFiles::Content::replaces, once.source(), options, bounded);
      },
      [&] { return !once.is_needed_again(); });
}

Result<void> Vm::append_file(const std::string& path, std::span<const std::byte> content,
                             const WriteFileOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  return change_files(*impl_, bounded, "append to a file", [&](GuestFiles files) {
    return files.write(path, GuestFiles::Content::is_appended, source_of(content), options,
                       bounded);
  });
}

Result<FileInfo> Vm::stat_file(const std::string& path, const StatFileOptions& options,
                               const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kFileCallLimit);
  return impl_->with_agent(bounded, "look at a file", [&](AgentClient& agent) {
    return GuestFiles(agent.link()).stat(path, options.follow_link, bounded);
  });
}

Result<std::vector<FileInfo>> Vm::list_files(const std::string& path,
                                             const ListFilesOptions& options,
                                             const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  return impl_->with_agent(bounded, "list files", [&](AgentClient& agent) {
    return GuestFiles(agent.link()).list(path, options.max_entries, bounded);
  });
}

Result<void> Vm::make_directory(const std::string& path, const MakeDirectoryOptions& options,
                                const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kFileCallLimit);
  return change_files(*impl_, bounded, "make a directory", [&](GuestFiles files) {
    return files.make_directory(path, options, bounded);
  });
}

Result<void> Vm::remove_file(const std::string& path, const RemoveFileOptions& options,
                             const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kRemoveLimit);
  return change_files(*impl_, bounded, "remove a file",
                      [&](GuestFiles files) { return files.remove(path, options, bounded); });
}

Result<void> Vm::rename_file(const std::string& path, const std::string& new_path,
                             const RenameFileOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kFileCallLimit);
  return change_files(*impl_, bounded, "rename a file", [&](GuestFiles files) {
    return files.rename(path, new_path, options, bounded);
  });
}

Result<Watch> Vm::watch(const std::string& path, const WatchOptions& options,
                        const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kFileCallLimit);
  const auto home = host::make_stream_home(impl_);
  return impl_->with_agent(bounded, "watch files", [&](AgentClient& agent) {
    return host::open_watch(agent.link(), path, options, home, bounded);
  });
}

Result<TransferTotals> Vm::download(const std::string& path, const std::filesystem::path& directory,
                                    const DownloadOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  if (auto ok = check_guest_path(path); !ok) return base::fail(ok.error());
  auto name = host::top_name(options.name, path);
  if (!name) return base::fail(name.error());
  Result<host::CopyTarget> target = host::CopyTarget{directory, std::move(*name)};
  if (options.follow_target && target->name != host::kOnlyContent) {
    target = host::follow_target(std::move(*target));
    if (!target) return base::fail(target.error());
  }
  const auto owners = options.keep_owner ? host::Owners::kept : host::Owners::mine;
  auto sink = host::DirectorySink::open(target->directory, target->name, owners);
  if (!sink) return base::fail(sink.error());
  auto totals = impl_->with_agent(bounded, "copy files from the guest", [&](AgentClient& agent) {
    sink->begin_again();
    return host::get_tree(agent.link(), path, options, *sink, bounded);
  });
  if (!totals) return totals;
  if (auto done = sink->finish(); !done) return base::fail(done.error());
  return totals;
}

Result<TransferTotals> Vm::download_tar(const std::string& path, const DataSink& tar,
                                        const DownloadOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  if (auto ok = check_guest_path(path); !ok) return base::fail(ok.error());
  const auto name = host::top_name(options.name, path);
  if (!name) return base::fail(name.error());
  TakenOnce once(tar);
  const DataSink out = once.sink();
  std::optional<host::TarSink> sink;
  auto totals = again_while(
      *impl_, bounded, "copy files from the guest",
      [&](AgentClient& agent) -> Result<TransferTotals> {
        sink.emplace(out, *name);
        if (auto opened = sink->open(); !opened) return base::fail(opened.error());
        return host::get_tree(agent.link(), path, options, *sink, bounded);
      },
      [&] { return !once.is_taken(); });
  if (!totals) return once.result_of(std::move(totals));
  if (auto done = sink->finish(); !done) return base::fail(done.error());
  return totals;
}

Result<TransferTotals> Vm::upload(const std::filesystem::path& path, const std::string& directory,
                                  const UploadOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  if (auto ok = check_guest_path(directory); !ok) return base::fail(ok.error());
  auto change = FileChange::make();
  if (!change) return base::fail(change.error());
  return impl_->with_agent(bounded, "copy files into the guest", [&](AgentClient& agent) {
    return host::upload_tree(agent.link(), path, directory, options, bounded, *change);
  });
}

Result<TransferTotals> Vm::upload_tar(const DataSource& tar, const std::string& directory,
                                      const UploadOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits);
  if (auto ok = check_guest_path(directory); !ok) return base::fail(ok.error());
  auto change = FileChange::make();
  if (!change) return base::fail(change.error());
  TakenOnce once(tar);
  return again_while(
      *impl_, bounded, "copy files into the guest",
      [&](AgentClient& agent) {
        return host::upload_tar(agent.link(), once.source(), directory, options, bounded, *change);
      },
      [&] { return !once.is_needed_again(); });
}

}  // namespace microvm
