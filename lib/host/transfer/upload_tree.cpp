#include <sys/stat.h>

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
    pending_.push_back({top, target});
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
    const auto bytes = stream_.file(*file, limits_);
    if (!bytes) return base::fail(bytes.error());
    totals_.bytes += *bytes;
    return S_ISDIR(info.st_mode) ? add_content(item) : Result<void>();
  }

  Result<FileToPut> describe(const Pending& item, const struct stat& info) const {
    FileToPut file;
    file.path = item.target;
    file.mode = info.st_mode & 07777u;
    file.uid = options_.keep_owner ? info.st_uid : options_.uid;
    file.gid = options_.keep_owner ? info.st_gid : options_.gid;
    file.mtime_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
    file.source = item.path;
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
                                   const Limits& limits) {
  const auto name = top_name(options.name, path.string());
  if (!name) return base::fail(name.error());
  const auto top = find_top(path, options, *name == kOnlyContent);
  if (!top) return base::fail(top.error());
  auto stream = PutStream::open(link, limits);
  if (!stream) return base::fail(stream.error());
  TreeUpload upload(*stream, options, limits);
  if (auto sent = upload.add(*top, join(directory, *name)); !sent) return base::fail(sent.error());
  if (auto done = stream->finish(limits); !done) return base::fail(done.error());
  return upload.totals();
}

}  // namespace microvm::host
