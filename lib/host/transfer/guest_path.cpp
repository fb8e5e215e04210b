#include "host/transfer/guest_path.hpp"

namespace microvm::host {

Result<std::string> top_name(const std::string& asked, const std::string& path) {
  if (asked == kOnlyContent) return asked;
  if (asked == ".." || asked.size() > 255 || asked.find('/') != std::string::npos ||
      asked.find('\0') != std::string::npos) {
    return base::fail(ErrorCode::invalid_argument, "\"" + asked + "\" is not a file name");
  }
  if (!asked.empty()) return asked;
  const size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return std::string(kOnlyContent);
  const size_t slash = path.rfind('/', end);
  const std::string name = path.substr(slash == std::string::npos ? 0 : slash + 1,
                                       slash == std::string::npos ? end + 1 : end - slash);
  if (name == "..") {
    return base::fail(ErrorCode::invalid_argument, path + ": does not end with a name");
  }
  return name;
}

std::string join(const std::string& directory, const std::string& name) {
  if (name.empty() || name == kOnlyContent) return directory;
  return directory.ends_with('/') ? directory + name : directory + "/" + name;
}

base::Failure not_a_directory(const std::string& path) {
  return base::fail(ErrorCode::invalid_argument, path + ": not a directory");
}

}  // namespace microvm::host
