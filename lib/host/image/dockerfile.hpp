// A Dockerfile as a list of instructions. The parser knows the grammar (continuation lines,
// comments, the escape directive, exec form, flags, heredocs) and which words are instructions;
// what an instruction does is in builder_steps.cpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace microvm::host {

enum class InstructionKind {
  add,
  arg,
  cmd,
  copy,
  entrypoint,
  env,
  expose,
  from,
  healthcheck,
  label,
  maintainer,
  onbuild,
  run,
  shell,
  stopsignal,
  user,
  volume,
  workdir,
};

struct Flag {
  std::string name;   // "chown", without the dashes
  std::string value;  // empty when there is no "="
};

struct Heredoc {
  std::string name;    // EOF of <<EOF
  bool expand = true;  // false when the name was quoted
  std::string content;
};

struct Instruction {
  InstructionKind kind{};
  int line = 0;  // of its first line, from 1
  std::vector<Flag> flags;
  bool exec_form = false;         // ["a", "b"]
  std::vector<std::string> args;  // exec form: its strings; else one element, the text as written
  std::vector<Heredoc> heredocs;
  std::string source;  // for progress: the instruction on one line
};

struct Dockerfile {
  std::string name;  // for messages
  char escape = '\\';
  std::vector<Instruction> instructions;

  // "name:line: message", ErrorCode::syntax.
  [[nodiscard]] base::Failure error_at(int line, const std::string& message) const;
};

inline constexpr size_t kMaxDockerfileBytes = 1u << 20;
inline constexpr size_t kMaxInstructions = 4096;

// `name` is what messages call the file. Errors: syntax, with name:line.
Result<Dockerfile> parse_dockerfile(std::string_view bytes, const std::string& name);

// Splits at white space outside quotes; quotes stay. Errors: an unterminated quote.
Result<std::vector<std::string>> split_words(std::string_view text, char escape);

}  // namespace microvm::host
