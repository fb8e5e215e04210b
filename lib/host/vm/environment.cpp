#include "host/vm/environment.hpp"

#include <algorithm>

#include "host/base/printable.hpp"
#include "host/image/build_plan.hpp"

namespace microvm::host {
namespace {

std::string_view variable_name(std::string_view assignment) {
  return assignment.substr(0, assignment.find('='));
}

Result<void> check_environment(const std::vector<std::string>& env) {
  for (const auto& assignment : env) {
    if (variable_name(assignment).empty() || assignment.find('=') == std::string::npos) {
      return base::fail(ErrorCode::invalid_argument,
                        "environment \"" + printable(assignment) + "\": not NAME=value");
    }
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
  std::vector<std::string> merged;
  for (const auto& assignment : image) {
    if (!has_variable(own, variable_name(assignment))) merged.push_back(assignment);
  }
  merged.insert(merged.end(), own.begin(), own.end());
  if (!has_variable(merged, "PATH")) merged.emplace_back(kDefaultPath);
  return merged;
}

}  // namespace microvm::host
