#include "host/image/plain_text.hpp"

namespace microvm::host {
namespace {

constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF";
constexpr std::string_view kUtf16Marks[] = {"\xFF\xFE", "\xFE\xFF"};

}  // namespace

Result<std::string_view> plain_text(std::string_view text, const std::string& name) {
  for (const std::string_view mark : kUtf16Marks) {
    if (text.starts_with(mark))
      return base::fail(ErrorCode::syntax, name + ": its text is UTF-16: save it as UTF-8");
  }
  if (text.find('\0') != std::string_view::npos)
    return base::fail(ErrorCode::syntax, name + ": not a text file: save it as UTF-8");
  if (text.starts_with(kUtf8Mark)) text.remove_prefix(kUtf8Mark.size());
  return text;
}

}  // namespace microvm::host
