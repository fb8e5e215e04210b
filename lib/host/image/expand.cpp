#include "host/image/expand.hpp"

#include <cctype>

namespace microvm::host {
namespace {

constexpr int kMaxNesting = 16;
constexpr size_t kMaxExpanded = 256 * 1024;

bool starts_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool in_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

class Expander {
 public:
  Expander(char escape, const VariableLookup& lookup) : escape_(escape), lookup_(lookup) {}

  Result<std::string> word(std::string_view text, int depth) {
    if (depth > kMaxNesting) return base::fail(ErrorCode::syntax, "variables nested too deeply");
    std::string out;
    size_t at = 0;
    while (at < text.size()) {
      const auto next = piece(text, at, depth, out);
      if (!next) return base::fail(next.error());
      at = *next;
      if (out.size() > kMaxExpanded) return base::fail(ErrorCode::syntax, "expansion too large");
    }
    return out;
  }

 private:
  // Appends what stands at `at`, returns where the next piece begins.
  Result<size_t> piece(std::string_view text, size_t at, int depth, std::string& out) {
    const char c = text[at];
    if (c == '\'') return single_quoted(text, at, out);
    if (c == '"') return double_quoted(text, at, depth, out);
    if (c == escape_ && at + 1 < text.size()) {
      out += text[at + 1];
      return at + 2;
    }
    if (c == '$') return variable(text, at, depth, out);
    out += c;
    return at + 1;
  }

  static Result<size_t> single_quoted(std::string_view text, size_t at, std::string& out) {
    const size_t end = text.find('\'', at + 1);
    if (end == std::string_view::npos) return base::fail(ErrorCode::syntax, "unterminated quote");
    out += text.substr(at + 1, end - at - 1);
    return end + 1;
  }

  Result<size_t> double_quoted(std::string_view text, size_t at, int depth, std::string& out) {
    for (++at; at < text.size() && text[at] != '"';) {
      if (text[at] == '$') {
        const auto next = variable(text, at, depth, out);
        if (!next) return next;
        at = *next;
        continue;
      }
      const bool escaped = text[at] == escape_ && at + 1 < text.size() &&
                           (text[at + 1] == '"' || text[at + 1] == '$' || text[at + 1] == escape_);
      if (escaped) ++at;
      out += text[at++];
    }
    if (at >= text.size()) return base::fail(ErrorCode::syntax, "unterminated quote");
    return at + 1;
  }

  Result<size_t> variable(std::string_view text, size_t at, int depth, std::string& out) {
    if (at + 1 < text.size() && text[at + 1] == '{') return braced(text, at, depth, out);
    size_t end = at + 1;
    if (end < text.size() && starts_name(text[end])) {
      while (end < text.size() && in_name(text[end])) ++end;
    }
    if (end == at + 1) {
      out += '$';
      return end;
    }
    out += lookup_(std::string(text.substr(at + 1, end - at - 1))).value_or("");
    return end;
  }

  Result<size_t> braced(std::string_view text, size_t at, int depth, std::string& out) {
    const auto close = closing_brace(text, at + 2);
    if (!close) return base::fail(close.error());
    const std::string_view inside = text.substr(at + 2, *close - at - 2);
    size_t name_end = 0;
    while (name_end < inside.size() && in_name(inside[name_end])) ++name_end;
    if (name_end == 0 || !starts_name(inside[0])) {
      return base::fail(ErrorCode::syntax, "bad variable name in ${" + std::string(inside) + "}");
    }
    const auto value =
        modified(std::string(inside.substr(0, name_end)), inside.substr(name_end), depth);
    if (!value) return base::fail(value.error());
    out += *value;
    return *close + 1;
  }

  Result<std::string> modified(const std::string& name, std::string_view modifier, int depth) {
    const auto value = lookup_(name);
    if (modifier.empty()) return value.value_or("");
    const bool colon = modifier[0] == ':';
    if (colon) modifier.remove_prefix(1);
    if (modifier.empty())
      return base::fail(ErrorCode::syntax, "missing modifier in ${" + name + ":}");
    const bool set = value && !(colon && value->empty());
    const char op = modifier[0];
    const std::string_view rest = modifier.substr(1);
    if (op == '-') return set ? *value : word(rest, depth + 1);
    if (op == '+') return set ? word(rest, depth + 1) : Result<std::string>(std::string());
    if (op == '?') {
      if (set) return *value;
      return base::fail(ErrorCode::syntax,
                        name + ": " + std::string(rest.empty() ? "not set" : rest));
    }
    return base::fail(ErrorCode::syntax,
                      "unsupported modifier in ${" + name + std::string(modifier) + "}");
  }

  // Where the brace that opened before `at` closes, over nested ${…}.
  Result<size_t> closing_brace(std::string_view text, size_t at) const {
    for (int open = 1; at < text.size(); ++at) {
      if (text[at] == escape_) {
        ++at;
      } else if (text[at] == '{') {
        ++open;
      } else if (text[at] == '}' && --open == 0) {
        return at;
      }
    }
    return base::fail(ErrorCode::syntax, "missing } in a variable");
  }

  char escape_;
  const VariableLookup& lookup_;
};

}  // namespace

Result<std::string> expand_word(std::string_view word, char escape, const VariableLookup& lookup) {
  return Expander(escape, lookup).word(word, 0);
}

}  // namespace microvm::host
