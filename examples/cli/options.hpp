// Command lines: flags, values, words; help and errors of one form for every command.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "command.hpp"

namespace cli {

// Arguments of a command that passes the rest of its line on (exec ID CMD…): what begins with the
// first word that is no option is not looked at.
struct SplitArguments {
  Arguments options;
  Arguments rest;
};
// `with_value`: the options that take the next word, e.g. {"-e", "--env"}.
SplitArguments split_at_first_word(const Arguments& arguments, const Arguments& with_value);

// One command's options. Names are "long" or "s,long"; afterwards the long one is asked for.
class OptionParser {
 public:
  // `usage` is the synopsis, `notes` follow the options in the help.
  OptionParser(std::string name, const std::string& usage, const std::string& summary,
               std::string notes = {});
  OptionParser(OptionParser&&) noexcept;
  OptionParser& operator=(OptionParser&&) = delete;
  ~OptionParser();

  OptionParser& flag(const std::string& names, const std::string& help);
  OptionParser& value(const std::string& names, const std::string& placeholder,
                      const std::string& help);  // may be repeated
  // Words that are no options, at least `min` and at most `max`.
  OptionParser& words(size_t min, size_t max);

  // False: help was asked for and printed, or the line was wrong and that was said; exit_code() is
  // then the command's.
  bool parse(const Arguments& arguments);
  [[nodiscard]] int exit_code() const { return exit_code_; }
  [[nodiscard]] const Arguments& found_words() const { return words_; }
  [[nodiscard]] bool has(const std::string& name) const;
  // The last one given.
  [[nodiscard]] std::string get(const std::string& name, const std::string& fallback = {}) const;
  [[nodiscard]] Arguments all(const std::string& name) const;
  // Of several options, names and values as they were given.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> in_order(
      const Arguments& names) const;
  // Says that the line is wrong; returns kUsage.
  int wrong(const std::string& problem);

 private:
  struct Parsed;
  void print_help() const;

  std::string name_;
  std::string notes_;
  std::unique_ptr<Parsed> parsed_;
  size_t min_words_ = 0;
  size_t max_words_ = 0;
  Arguments words_;
  int exit_code_ = kOk;
};

// "512M", "2G", "1073741824" → bytes.
std::optional<uint64_t> parse_size(const std::string& text);
std::optional<uint16_t> parse_port(const std::string& text);
std::optional<uint32_t> parse_count(const std::string& text);
std::optional<uint32_t> parse_number_or_zero(const std::string& text);  // the others are above it

// A sub-command's name and its arguments ("image ls"); prints help or an error otherwise.
int dispatch(const Context& context, const Arguments& arguments, const std::string& group,
             std::span<const Command> commands);

}  // namespace cli
