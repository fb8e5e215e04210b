#include "job.hpp"

#include <toml++/toml.h>
#include <algorithm>
#include <initializer_list>
#include <string_view>

namespace {

[[noreturn]] void fail(const toml::source_region& where, std::string_view what) {
  const auto line = where.begin.line;  // 0: of no line, as there is no file
  throw JobError((where.path ? *where.path : "job") +
                 (line == 0 ? "" : ":" + std::to_string(line)) + ": " + std::string(what));
}

// A name that is spelled wrong is not left unread.
void check_keys(const toml::table& table, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : table) {
    if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
    std::string names;
    for (const auto name : known) names += (names.empty() ? "" : ", ") + std::string(name);
    fail(key.source(), "unknown key '" + std::string(key.str()) + "' (there are " + names + ")");
  }
}

std::string text(const toml::table& table, std::string_view key, bool needed = true) {
  const toml::node* node = table.get(key);
  if (node == nullptr) {
    if (needed) fail(table.source(), "'" + std::string(key) + "' is missing");
    return {};
  }
  const auto value = node->value_exact<std::string>();
  if (!value || value->empty()) fail(node->source(), "'" + std::string(key) + "' must be a text");
  return *value;
}

// Calls `take` with each table of [[key]].
template <class Take>
void for_each_table(const toml::table& table, std::string_view key, Take take) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return;
  const toml::array* list = node->as_array();
  if (list == nullptr) fail(node->source(), "write [[" + std::string(key) + "]]");
  for (const toml::node& item : *list) {
    if (!item.is_table()) fail(item.source(), "write [[" + std::string(key) + "]]");
    take(*item.as_table());
  }
}

std::vector<Copy> copies(const toml::table& table, std::string_view key) {
  std::vector<Copy> all;
  for_each_table(table, key, [&](const toml::table& copy) {
    check_keys(copy, {"from", "to"});
    all.push_back({text(copy, "from"), text(copy, "to")});
  });
  return all;
}

std::vector<std::string> environment(const toml::table& job) {
  std::vector<std::string> all;
  const toml::node* node = job.get("env");
  if (node == nullptr) return all;
  if (!node->is_table()) fail(node->source(), "write [env]");
  for (const auto& [name, value] : *node->as_table()) {
    if (!value.is_string()) fail(value.source(), "the value of a variable must be a text");
    all.push_back(std::string(name.str()) + "=" + **value.as_string());
  }
  return all;
}

}  // namespace

Job read_job(const std::filesystem::path& file) try {
  const toml::table table = toml::parse_file(file.string());
  check_keys(table, {"image", "timeout_s", "env", "files", "steps", "artifacts"});
  Job job;
  job.image = text(table, "image");
  if (const toml::node* node = table.get("timeout_s")) {
    const auto seconds = node->value_exact<int64_t>();
    if (!seconds || *seconds < 1) fail(node->source(), "'timeout_s' must be a number above 0");
    job.timeout = std::chrono::seconds(*seconds);
  }
  job.env = environment(table);
  job.files = copies(table, "files");
  job.artifacts = copies(table, "artifacts");
  for_each_table(table, "steps", [&](const toml::table& step) {
    check_keys(step, {"name", "run", "workdir"});
    job.steps.push_back({text(step, "name"), text(step, "run"), text(step, "workdir", false)});
  });
  if (job.steps.empty()) fail(table.source(), "there is no step: write [[steps]]");
  return job;
} catch (const toml::parse_error& error) {
  fail(error.source(), error.description());
}
