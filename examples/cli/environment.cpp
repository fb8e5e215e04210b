#include "environment.hpp"

#include <fmt/core.h>

#include <cstdlib>
#include <string_view>

namespace cli {
namespace {

using microvm::Error;
using microvm::ErrorCode;
using microvm::Result;

constexpr std::string_view kBlanks = " \t\v\f\r";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

tl::unexpected<Error> wrong(std::string message) {
  return tl::unexpected(Error{ErrorCode::invalid_argument, std::move(message)});
}

Result<void> add_line(std::string_view line, std::vector<std::string>& environment) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  if (line.empty() || line[0] == '#') return {};
  const std::string_view name = line.substr(0, line.find('='));
  if (name.find_first_of(kBlanks) != std::string_view::npos) {
    return wrong(fmt::format("blanks in the name \"{}\"", name));
  }
  return add_variable(std::string(line), environment);
}

}  // namespace

Result<void> add_variable(const std::string& text, std::vector<std::string>& environment) {
  const size_t equals = text.find('=');
  if (text.empty() || equals == 0) return wrong(fmt::format("no name in \"{}\"", text));
  const char* here = equals == std::string::npos ? std::getenv(text.c_str()) : nullptr;
  environment.push_back(here == nullptr ? text : text + "=" + here);
  return {};
}

Result<void> add_variables(std::istream& file, std::vector<std::string>& environment) {
  std::string line;
  for (size_t number = 1; std::getline(file, line); ++number) {
    std::string_view text = line;
    if (number == 1 && text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    if (auto added = add_line(text, environment); !added) {
      return wrong(fmt::format("line {}: {}", number, added.error().message));
    }
  }
  return {};
}

}  // namespace cli
