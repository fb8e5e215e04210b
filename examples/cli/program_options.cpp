#include "program_options.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "environment.hpp"

namespace cli {
namespace {

std::optional<std::string> read_file(const std::string& path,
                                     std::vector<std::string>& environment) {
  std::ifstream file(path);
  if (!file) return "--env-file " + path + ": " + ::strerrordesc_np(errno);
  const auto added = add_variables(file, environment);
  if (!added) return "--env-file " + path + ": " + added.error().message;
  if (file.bad()) return "--env-file " + path + ": it cannot be read";
  return std::nullopt;
}

// What -e says wins over the files: the last of a name counts.
std::optional<std::string> read_environment(const OptionParser& parser,
                                            std::vector<std::string>& environment) {
  for (const std::string& path : parser.all("env-file")) {
    if (auto problem = read_file(path, environment)) return problem;
  }
  for (const std::string& text : parser.all("env")) {
    if (auto added = add_variable(text, environment); !added) return "-e: " + added.error().message;
  }
  return std::nullopt;
}

}  // namespace

void add_program_options(OptionParser& parser) {
  parser
      .value("e,env", "NAME[=VALUE]",
             "Set a variable, without VALUE as it is (or is not) here; may be repeated")
      .value("env-file", "FILE", "Set those of a file, a line for each as for -e; may be repeated")
      .value("w,workdir", "DIR", "Working directory (default: the image's)")
      .value("u,user", "USER", "User, by name or number, with :GROUP (default: the image's)");
}

bool has_program_options(const OptionParser& parser) {
  return parser.has("env") || parser.has("env-file") || parser.has("workdir") || parser.has("user");
}

std::optional<std::string> read_program_options(const OptionParser& parser,
                                                microvm::ExecOptions& program) {
  program.cwd = parser.get("workdir");
  program.user = parser.get("user");
  return read_environment(parser, program.env);
}

SplitArguments split_at_program(const Arguments& arguments, Arguments with_value) {
  with_value.insert(with_value.end(),
                    {"-e", "--env", "--env-file", "-w", "--workdir", "-u", "--user"});
  return split_at_first_word(arguments, with_value);
}

}  // namespace cli
