#include "host/image/dockerfile.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <utility>

#include "host/image/plain_text.hpp"
#include "host/store/json_fields.hpp"

namespace microvm::host {
namespace {

struct InstructionName {
  std::string_view name;
  InstructionKind kind;
};

constexpr std::array<InstructionName, 18> kInstructions = {{
    {"ADD", InstructionKind::add},
    {"ARG", InstructionKind::arg},
    {"CMD", InstructionKind::cmd},
    {"COPY", InstructionKind::copy},
    {"ENTRYPOINT", InstructionKind::entrypoint},
    {"ENV", InstructionKind::env},
    {"EXPOSE", InstructionKind::expose},
    {"FROM", InstructionKind::from},
    {"HEALTHCHECK", InstructionKind::healthcheck},
    {"LABEL", InstructionKind::label},
    {"MAINTAINER", InstructionKind::maintainer},
    {"ONBUILD", InstructionKind::onbuild},
    {"RUN", InstructionKind::run},
    {"SHELL", InstructionKind::shell},
    {"STOPSIGNAL", InstructionKind::stopsignal},
    {"USER", InstructionKind::user},
    {"VOLUME", InstructionKind::volume},
    {"WORKDIR", InstructionKind::workdir},
}};

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

// The file line by line, knowing where it is.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  [[nodiscard]] bool end() const { return rest_.empty(); }
  [[nodiscard]] int number() const { return number_; }
  std::string_view next() {
    const size_t newline = rest_.find('\n');
    std::string_view line = rest_.substr(0, newline);
    rest_.remove_prefix(newline == std::string_view::npos ? rest_.size() : newline + 1);
    ++number_;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
  }

 private:
  std::string_view rest_;
  int number_ = 0;
};

bool is_comment(std::string_view line) {
  const std::string_view text = trim(line);
  return !text.empty() && text.front() == '#';
}

// `# escape=X` before anything else; other directives (syntax, check) say nothing to us.
Result<char> escape_directive(const Dockerfile& file, std::string_view text) {
  Lines lines(text);
  while (!lines.end()) {
    const std::string_view line = trim(lines.next());
    if (line.empty() || line.front() != '#') break;
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) break;
    if (upper(trim(line.substr(1, equals - 1))) != "ESCAPE") continue;
    const std::string_view value = trim(line.substr(equals + 1));
    if (value == "\\" || value == "`") return value.front();
    return file.error_at(lines.number(), "the escape directive takes \\ or `");
  }
  return '\\';
}

class Parser {
 public:
  Parser(std::string_view text, Dockerfile file) : lines_(text), file_(std::move(file)) {}

  Result<Dockerfile> parse() {
    while (!lines_.end()) {
      const std::string logical = logical_line();
      if (trim(logical).empty()) continue;
      auto parsed = instruction(trim(logical));
      if (!parsed) return base::fail(parsed.error());
      file_.instructions.push_back(std::move(*parsed));
      if (file_.instructions.size() > kMaxInstructions) {
        return file_.error_at(start_,
                              "more than " + std::to_string(kMaxInstructions) + " instructions");
      }
    }
    return std::move(file_);
  }

 private:
  // Joins continuation lines; comments and, inside a continuation, empty lines are dropped.
  std::string logical_line() {
    std::string out;
    bool continued = false;
    while (!lines_.end()) {
      const std::string_view line = lines_.next();
      if (is_comment(line) || (continued && trim(line).empty())) continue;
      if (!continued) start_ = lines_.number();
      const auto joined = before_continuation(line);
      continued = joined.has_value();
      out += joined.value_or(line);
      if (!continued) break;
    }
    return out;
  }

  // What stands before an escape character at the line's end that joins the next line to it. One
  // that is itself escaped does not, and as in BuildKit any escape character before it does that.
  [[nodiscard]] std::optional<std::string_view> before_continuation(std::string_view line) const {
    const size_t last = line.find_last_not_of(" \t");
    if (last == std::string_view::npos || line[last] != file_.escape) return std::nullopt;
    if (last > 0 && line[last - 1] == file_.escape) return std::nullopt;
    return line.substr(0, last);
  }

  Result<Instruction> instruction(std::string_view text) {
    const size_t word_end = std::min(text.find_first_of(" \t"), text.size());
    const std::string name = upper(text.substr(0, word_end));
    const auto* known =
        std::ranges::find(kInstructions, std::string_view(name), &InstructionName::name);
    if (known == kInstructions.end()) {
      return file_.error_at(start_, "unknown instruction: " + name);
    }
    Instruction out;
    out.kind = known->kind;
    out.line = start_;
    out.source = std::string(text);
    std::string_view rest = trim(text.substr(word_end));
    take_flags(rest, out);
    if (rest.empty()) return file_.error_at(start_, name + " needs arguments");
    if (auto read = read_heredocs(rest, out); !read) return base::fail(read.error());
    read_arguments(rest, out);
    return out;
  }

  static bool takes_flags(InstructionKind kind) {
    return kind == InstructionKind::add || kind == InstructionKind::copy ||
           kind == InstructionKind::from || kind == InstructionKind::healthcheck ||
           kind == InstructionKind::run;
  }

  static void take_flags(std::string_view& rest, Instruction& out) {
    while (takes_flags(out.kind) && rest.starts_with("--")) {
      const size_t end = std::min(rest.find_first_of(" \t"), rest.size());
      const std::string_view flag = rest.substr(2, end - 2);
      const size_t equals = std::min(flag.find('='), flag.size());
      out.flags.push_back({std::string(flag.substr(0, equals)),
                           std::string(equals < flag.size() ? flag.substr(equals + 1) : "")});
      rest = trim(rest.substr(end));
    }
  }

  static bool takes_heredocs(InstructionKind kind) {
    return kind == InstructionKind::add || kind == InstructionKind::copy ||
           kind == InstructionKind::run;
  }

  Result<void> read_heredocs(std::string_view rest, Instruction& out) {
    if (!takes_heredocs(out.kind)) return {};
    for (size_t at = rest.find("<<"); at != std::string_view::npos; at = rest.find("<<", at + 2)) {
      if (at > 0 && !is_space(rest[at - 1])) continue;
      const auto opened = heredoc_opener(rest.substr(at + 2));
      if (!opened) continue;
      auto body = heredoc_body(*opened);
      if (!body) return base::fail(body.error());
      out.heredocs.push_back(std::move(*body));
    }
    return {};
  }

  struct Opener {
    bool strip_tabs = false;
    bool quoted = false;
    std::string name;
  };

  static std::optional<Opener> heredoc_opener(std::string_view text) {
    Opener out;
    if (text.starts_with("-")) {
      out.strip_tabs = true;
      text.remove_prefix(1);
    }
    const size_t end = std::min(text.find_first_of(" \t"), text.size());
    std::string_view name = text.substr(0, end);
    if (name.size() >= 2 && (name.front() == '"' || name.front() == '\'') &&
        name.back() == name.front()) {
      out.quoted = true;
      name = name.substr(1, name.size() - 2);
    }
    const bool plain = !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_' || c == '.';
    });
    if (!plain) return std::nullopt;
    out.name = std::string(name);
    return out;
  }

  Result<Heredoc> heredoc_body(const Opener& opener) {
    Heredoc out{opener.name, !opener.quoted, {}};
    while (!lines_.end()) {
      std::string_view line = lines_.next();
      if (opener.strip_tabs)
        line.remove_prefix(std::min(line.find_first_not_of('\t'), line.size()));
      if (line == opener.name) return out;
      out.content += line;
      out.content += '\n';
    }
    return file_.error_at(start_, "heredoc <<" + opener.name + " is not closed");
  }

  // A JSON array of strings is the exec form; anything else is text, as docker has it.
  static void read_arguments(std::string_view rest, Instruction& out) {
    if (rest.front() == '[' && out.heredocs.empty()) {
      auto strings = parse_json_texts(rest);
      if (strings && (!strings->empty() || out.kind == InstructionKind::cmd ||
                      out.kind == InstructionKind::entrypoint)) {
        out.exec_form = true;
        out.args = std::move(*strings);
        return;
      }
    }
    out.args.emplace_back(rest);
  }

  Lines lines_;
  Dockerfile file_;
  int start_ = 0;
};

}  // namespace

base::Failure Dockerfile::error_at(int line, const std::string& message) const {
  return base::fail(ErrorCode::syntax, name + ":" + std::to_string(line) + ": " + message);
}

Result<Dockerfile> parse_dockerfile(std::string_view bytes, const std::string& name) {
  Dockerfile file;
  file.name = name;
  if (bytes.size() > kMaxDockerfileBytes) {
    return base::fail(ErrorCode::syntax, name + ": larger than 1 MiB");
  }
  const auto text = plain_text(bytes, name);
  if (!text) return base::fail(text.error());
  const auto escape = escape_directive(file, *text);
  if (!escape) return base::fail(escape.error());
  file.escape = *escape;
  auto parsed = Parser(*text, std::move(file)).parse();
  if (!parsed) return parsed;
  if (parsed->instructions.empty()) {
    return base::fail(ErrorCode::syntax, name + ": the Dockerfile has no instructions");
  }
  return parsed;
}

Result<std::vector<std::string>> split_words(std::string_view text, char escape) {
  std::vector<std::string> out;
  std::string word;
  char quote = 0;
  bool open = false;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quote == 0 && is_space(c)) {
      if (open) out.push_back(std::exchange(word, {}));
      open = false;
      continue;
    }
    open = true;
    word += c;
    if (c == escape && quote != '\'' && at + 1 < text.size()) {
      word += text[++at];
    } else if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    }
  }
  if (quote != 0) return base::fail(ErrorCode::syntax, "unterminated quote");
  if (open) out.push_back(std::move(word));
  return out;
}

}  // namespace microvm::host
