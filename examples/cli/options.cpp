#include "options.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cxxopts.hpp>
#include <limits>

#include "output.hpp"

namespace cli {

SplitArguments split_at_first_word(const Arguments& arguments, const Arguments& with_value) {
  size_t i = 0;
  for (; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--" || word.size() < 2 || word[0] != '-') break;
    if (std::ranges::count(with_value, word) != 0) ++i;
  }
  const auto middle = arguments.begin() + static_cast<ptrdiff_t>(std::min(i, arguments.size()));
  SplitArguments split{{arguments.begin(), middle}, {middle, arguments.end()}};
  if (!split.rest.empty() && split.rest[0] == "--") split.rest.erase(split.rest.begin());
  return split;
}

// cxxopts stays in this file: it is slow to compile.
struct OptionParser::Parsed {
  cxxopts::Options options;
  cxxopts::ParseResult result;
};

OptionParser::OptionParser(std::string name, const std::string& usage, const std::string& summary,
                           std::string notes)
    : name_(std::move(name)),
      notes_(std::move(notes)),
      parsed_(std::make_unique<Parsed>(Parsed{cxxopts::Options("microvm " + name_, summary), {}})) {
  parsed_->options.custom_help(usage);
  flag("h,help", "Print this help");
}

OptionParser::OptionParser(OptionParser&&) noexcept = default;
OptionParser::~OptionParser() = default;

OptionParser& OptionParser::flag(const std::string& names, const std::string& help) {
  parsed_->options.add_options()(names, help);
  return *this;
}

OptionParser& OptionParser::value(const std::string& names, const std::string& placeholder,
                                  const std::string& help) {
  // A vector of strings would be split at commas.
  parsed_->options.add_options()(names, help, cxxopts::value<std::string>(), placeholder);
  return *this;
}

OptionParser& OptionParser::words(size_t min, size_t max) {
  min_words_ = min;
  max_words_ = max;
  return *this;
}

bool OptionParser::parse(const Arguments& arguments) {
  std::vector<const char*> argv = {"microvm"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  try {
    parsed_->result = parsed_->options.parse(static_cast<int>(argv.size()), argv.data());
  } catch (const cxxopts::exceptions::exception& error) {
    wrong(error.what());
    return false;
  }
  if (has("help")) {
    print_help();
    return false;
  }
  words_ = parsed_->result.unmatched();
  if (words_.size() >= min_words_ && words_.size() <= max_words_) return true;
  wrong(words_.size() < min_words_ ? "an argument is missing" : "too many arguments");
  return false;
}

bool OptionParser::has(const std::string& name) const {
  return parsed_->result.count(name) != 0;
}

std::string OptionParser::get(const std::string& name, const std::string& fallback) const {
  const Arguments values = all(name);
  return values.empty() ? fallback : values.back();
}

Arguments OptionParser::all(const std::string& name) const {
  Arguments values;
  for (const auto& given : parsed_->result.arguments()) {
    if (given.key() == name) values.push_back(given.value());
  }
  return values;
}

std::vector<std::pair<std::string, std::string>> OptionParser::in_order(
    const Arguments& names) const {
  std::vector<std::pair<std::string, std::string>> given;
  for (const auto& argument : parsed_->result.arguments()) {
    if (std::ranges::count(names, argument.key()) == 0) continue;
    given.emplace_back(argument.key(), argument.value());
  }
  return given;
}

void OptionParser::print_help() const {
  fmt::print("{}", parsed_->options.help());
  if (!notes_.empty()) fmt::print("\n{}\n", notes_);
}

int OptionParser::wrong(const std::string& problem) {
  print_error(fmt::format("{}: {} (see microvm {} --help)", name_, problem, name_));
  exit_code_ = kUsage;
  return kUsage;
}

namespace {

// How far a suffix letter shifts a number.
std::optional<unsigned> suffix_shift(std::string_view suffix) {
  if (suffix.empty() || suffix == "b" || suffix == "B") return 0;
  if (suffix.size() > 1 && suffix.substr(1) != "B" && suffix.substr(1) != "iB" &&
      suffix.substr(1) != "b") {
    return std::nullopt;
  }
  switch (suffix[0]) {
    case 'k':
    case 'K':
      return 10;
    case 'm':
    case 'M':
      return 20;
    case 'g':
    case 'G':
      return 30;
    case 't':
    case 'T':
      return 40;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<uint64_t> parse_size(const std::string& text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number == 0) return std::nullopt;
  const auto shift = suffix_shift(std::string_view(end, text.data() + text.size()));
  if (!shift || number > std::numeric_limits<uint64_t>::max() >> *shift) return std::nullopt;
  return number << *shift;
}

namespace {

// A whole decimal number.
template <class T>
std::optional<T> parse_number(const std::string& text, T lowest) {
  T number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number < lowest ? std::nullopt : std::optional(number);
}

}  // namespace

std::optional<uint16_t> parse_port(const std::string& text) {
  return parse_number<uint16_t>(text, 1);
}

std::optional<uint32_t> parse_count(const std::string& text) {
  return parse_number<uint32_t>(text, 1);
}

std::optional<uint32_t> parse_number_or_zero(const std::string& text) {
  return parse_number<uint32_t>(text, 0);
}

namespace {

void print_group(const std::string& group, std::span<const Command> commands) {
  fmt::print("Usage: microvm {} COMMAND\n\nCommands:\n", group);
  for (const Command& command : commands) {
    fmt::print("  {:<10} {}\n", command.name, command.summary);
  }
  fmt::print("\nRun 'microvm {} COMMAND --help' for more.\n", group);
}

}  // namespace

int dispatch(const Context& context, const Arguments& arguments, const std::string& group,
             std::span<const Command> commands) {
  if (arguments.empty() || arguments[0] == "-h" || arguments[0] == "--help") {
    print_group(group, commands);
    return arguments.empty() ? kUsage : kOk;
  }
  const auto found = std::ranges::find(commands, arguments[0],
                                       [](const Command& command) { return command.name; });
  if (found == commands.end()) {
    print_error(
        fmt::format("{}: no command \"{}\" (see microvm {} --help)", group, arguments[0], group));
    return kUsage;
  }
  return found->run(context, {arguments.begin() + 1, arguments.end()});
}

}  // namespace cli
