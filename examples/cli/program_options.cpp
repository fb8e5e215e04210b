#include "program_options.hpp"

namespace cli {

void add_program_options(OptionParser& parser) {
  parser.value("e,env", "NAME=VALUE", "Set a variable; may be repeated")
      .value("w,workdir", "DIR", "Working directory (default: the image's)")
      .value("u,user", "USER", "User, by name or number, with :GROUP (default: the image's)");
}

bool has_program_options(const OptionParser& parser) {
  return parser.has("env") || parser.has("workdir") || parser.has("user");
}

void read_program_options(const OptionParser& parser, microvm::ExecOptions& program) {
  program.env = parser.all("env");
  program.cwd = parser.get("workdir");
  program.user = parser.get("user");
}

SplitArguments split_at_program(const Arguments& arguments, Arguments with_value) {
  with_value.insert(with_value.end(), {"-e", "--env", "-w", "--workdir", "-u", "--user"});
  return split_at_first_word(arguments, with_value);
}

}  // namespace cli
