#include "host/transfer/target_link.hpp"

namespace microvm::host {

namespace fs = std::filesystem;

namespace {

constexpr int kMaxLinks = 40;  // as the kernel

base::Failure can_not_follow(const fs::path& path, const std::string& why) {
  return base::fail(ErrorCode::invalid_argument, "copy to " + path.string() + ": " + why);
}

// A path that ends with no name, as "dir/" and "..", is that of a directory which is there.
Result<CopyTarget> to_target(fs::path path) {
  const fs::path name = path.filename();
  if (name.empty() || name == "." || name == "..") {
    std::error_code error;
    const std::string named = path.string();
    path = fs::canonical(path, error);
    if (error) return base::fail_errno("copy to " + named, error.value());
  }
  return CopyTarget{path.parent_path(), path.filename().string()};
}

}  // namespace

Result<CopyTarget> follow_target(CopyTarget target) {
  const fs::path named = target.directory / target.name;
  for (int links = 0; links <= kMaxLinks; ++links) {
    std::error_code error;
    const fs::path at = target.directory / target.name;
    const auto status = fs::symlink_status(at, error);
    if (status.type() != fs::file_type::symlink) {
      const bool is_replaced = !fs::exists(status) || fs::is_regular_file(status);
      if (links == 0 || is_replaced || fs::is_directory(status)) return target;
      return can_not_follow(named, "leads to what is no file and no directory");
    }
    const fs::path link = fs::read_symlink(at, error);
    if (error) return base::fail_errno("copy to " + named.string(), error.value());
    auto next = to_target(target.directory / link);  // an absolute one replaces the directory
    if (!next) return next;
    target = std::move(*next);
  }
  return can_not_follow(named, "too many links");
}

}  // namespace microvm::host
