#include "host/probe_scratch.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "host/store/names.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

bool is_private_path(const std::string& word) {
  constexpr std::array kOfEverybody = {"/dev/", "/proc/", "/sys/"};
  return word.size() > 1 && word.front() == '/' &&
         std::ranges::none_of(kOfEverybody,
                              [&](const char* begin) { return word.starts_with(begin); });
}

std::string without_name(const std::string& word) {
  const std::string bare = word.substr(0, word.find_last_not_of(":.") + 1);
  if (is_private_path(bare)) return "(path)" + word.substr(bare.size());
  if (is_vm_id(bare)) return "(id)" + word.substr(bare.size());
  return word;
}

}  // namespace

Result<Scratch> Scratch::make(const fs::path& parent) {
  std::error_code ec;
  const fs::path place = parent.empty() ? fs::temp_directory_path(ec) : parent;
  if (ec) return base::fail(ErrorCode::io, "find a place for temporary files: " + ec.message());
  std::string name = (place / "microvm-probe-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    return base::fail_errno("make a directory in " + place.string());
  }
  return Scratch(name);
}

Scratch::~Scratch() {
  std::error_code ec;
  if (!path_.empty()) fs::remove_all(path_, ec);
}

std::string without_names(const std::string& text) {
  std::string clean;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find_first_of(" ,;()\"'\n=:`", at), text.size());
    clean += without_name(text.substr(at, end - at));
    if (end < text.size()) clean += text[end];
    at = end + 1;
  }
  return clean;
}

}  // namespace microvm::host
