#include "host/vm/environment.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "host/base/printable.hpp"
#include "host/image/build_plan.hpp"

namespace microvm::host {
namespace {

std::string_view variable_name(std::string_view assignment) {
  return assignment.substr(0, assignment.find('='));
}

Result<void> check_environment(const std::vector<std::string>& env) {
  for (const auto& assignment : env) {
    if (!variable_name(assignment).empty()) continue;
    return base::fail(ErrorCode::invalid_argument,
                      "environment \"" + printable(assignment) + "\": not NAME=value or NAME");
  }
  return {};
}

}  // namespace

bool has_variable(const std::vector<std::string>& env, std::string_view name) {
  return std::ranges::any_of(env, [&](const auto& have) { return variable_name(have) == name; });
}

Result<std::vector<std::string>> make_environment(const std::vector<std::string>& image,
                                                  const std::vector<std::string>& own) {
  if (auto ok = check_environment(own); !ok) return base::fail(ok.error());
  // From the last to the first, each name once: a program takes the first that it meets.
  std::unordered_set<std::string_view> names;
  std::vector<std::string> merged;
  const auto take = [&](const std::string& assignment) {
    const auto name = variable_name(assignment);
    if (names.insert(name).second && name.size() < assignment.size()) merged.push_back(assignment);
  };
  std::for_each(own.rbegin(), own.rend(), take);
  std::for_each(image.rbegin(), image.rend(), take);
  std::ranges::reverse(merged);
  if (!has_variable(merged, "PATH")) merged.emplace_back(kDefaultPath);
  return merged;
}

}  // namespace microvm::host
