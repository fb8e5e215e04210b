#include <sys/stat.h>

#include <map>
#include <utility>
#include <vector>

#include "host/store/files.hpp"
#include "host/transfer/guest_path.hpp"
#include "host/transfer/upload.hpp"

namespace microvm::host {

namespace fs = std::filesystem;

namespace {

class TreeUpload {
 public:
  TreeUpload(PutStream& stream, const UploadOptions& options, const Limits& limits)
      : stream_(stream), options_(options), limits_(limits) {}

  Result<void> add(const fs::path& top, const std::string& target) {
    pending_.push_back({top, target, true});
    while (!pending_.empty()) {
      const Pending next = std::move(pending_.back());
      pending_.pop_back();
      if (auto sent = send(next); !sent) return sent;
    }
    return {};
  }

  [[nodiscard]] const TransferTotals& totals() const { return totals_; }

 private:
  struct Pending {
    fs::path path;
    std::string target;
    bool is_top = false;
  };

  Result<void> send(const Pending& item) {
    struct stat info{};
    if (::lstat(item.path.c_str(), &info) != 0) {
      return base::fail_errno("copy " + item.path.string());
    }
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode) && !S_ISLNK(info.st_mode)) {
      ++totals_.skipped;
      return {};
    }
    if (++totals_.entries > options_.max_entries) return too_many_entries(options_);
    auto file = describe(item, info);
    if (!file) return base::fail(file.error());
    if (const auto first = first_name(item, info); !first.empty()) {
      return stream_.entry(*file, 0, limits_, first);
    }
    const auto bytes = stream_.file(*file, limits_);
    if (!bytes) return base::fail(bytes.error());
    totals_.bytes += *bytes;
    return S_ISDIR(info.st_mode) ? add_content(item) : Result<void>();
  }

  // In the guest, of a file of which another name was sent before.
  std::string first_name(const Pending& item, const struct stat& info) {
    if (!S_ISREG(info.st_mode) || info.st_nlink < 2 || !stream_.keeps_names()) return {};
    const auto [known, is_new] = first_names_.try_emplace({info.st_dev, info.st_ino}, item.target);
    return is_new ? std::string() : known->second;
  }

  Result<FileToPut> describe(const Pending& item, const struct stat& info) const {
    FileToPut file;
    file.path = item.target;
    file.mode = info.st_mode & 07777u;
    file.uid = options_.keep_owner ? info.st_uid : options_.uid;
    file.gid = options_.keep_owner ? info.st_gid : options_.gid;
    file.mtime_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
    file.source = item.path;
    file.follow = options_.follow_target && item.is_top;
    if (S_ISDIR(info.st_mode)) file.type = FileToPut::Type::directory;
    if (!S_ISLNK(info.st_mode)) return file;
    std::error_code error;
    file.type = FileToPut::Type::symlink;
    file.link_target = fs::read_symlink(item.path, error).string();
    if (error) return base::fail_errno("copy " + item.path.string(), error.value());
    return file;
  }

  Result<void> add_content(const Pending& directory) {
    const auto names = list_dir(directory.path);
    if (!names) return base::fail(names.error());
    for (auto name = names->rbegin(); name != names->rend(); ++name) {
      pending_.push_back({directory.path / *name, join(directory.target, *name)});
    }
    return {};
  }

  PutStream& stream_;
  const UploadOptions& options_;
  const Limits& limits_;
  std::vector<Pending> pending_;
  std::map<std::pair<dev_t, ino_t>, std::string> first_names_;
  TransferTotals totals_;
};

// The path as it is walked: without its last link where that is to be followed.
Result<fs::path> find_top(const fs::path& path, const UploadOptions& options, bool only_content) {
  std::error_code error;
  const bool follow = options.follow_link || only_content;
  fs::path top = follow ? fs::canonical(path, error) : path;
  if (error) return base::fail_errno("copy " + path.string(), error.value());
  const auto status = fs::symlink_status(top, error);
  if (!fs::exists(status)) return base::fail_errno("copy " + path.string(), ENOENT);
  if (only_content && !fs::is_directory(status)) return not_a_directory(path.string());
  // Below a directory one that is none of these is left out; this was asked for by its name.
  if (!fs::is_regular_file(status) && !fs::is_directory(status) && !fs::is_symlink(status)) {
    return base::fail(ErrorCode::invalid_argument,
                      "copy " + path.string() + ": not a file, a directory or a link");
  }
  return top;
}

}  // namespace

base::Failure too_many_entries(const UploadOptions& options) {
  return base::fail(ErrorCode::invalid_argument, "copy files: more than " +
                                                     std::to_string(options.max_entries) +
                                                     " entries: raise max_entries");
}

Result<TransferTotals> upload_tree(const std::shared_ptr<AgentLink>& link, const fs::path& path,
                                   const std::string& directory, const UploadOptions& options,
                                   const Limits& limits, FileChange& change) {
  const auto name = top_name(options.name, path.string());
  if (!name) return base::fail(name.error());
  const auto top = find_top(path, options, *name == kOnlyContent);
  if (!top) return base::fail(top.error());
  auto stream = PutStream::open(link, limits, &change);
  if (!stream) return base::fail(stream.error());
  if (stream->is_done()) return change.totals;
  TreeUpload upload(*stream, options, limits);
  if (auto sent = upload.add(*top, join(directory, *name)); !sent) return base::fail(sent.error());
  change.totals = upload.totals();
  if (auto done = stream->finish(limits); !done) return base::fail(done.error());
  return change.totals;
}

}  // namespace microvm::host
