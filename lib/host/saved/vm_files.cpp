#include "host/saved/vm_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "host/store/files.hpp"
#include "host/store/json_fields.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxName = 40;

struct Pattern {
  std::string_view prefix;
  std::string_view suffix;
};
constexpr std::array<Pattern, 3> kPatterns = {Pattern{"disk-", ".layer"}, Pattern{"pages-", ""},
                                              Pattern{"state-", ""}};

std::optional<uint64_t> number_of(const Pattern& pattern, std::string_view name) {
  if (!name.starts_with(pattern.prefix) || !name.ends_with(pattern.suffix)) return std::nullopt;
  if (name.size() <= pattern.prefix.size() + pattern.suffix.size()) return std::nullopt;
  name.remove_prefix(pattern.prefix.size());
  name.remove_suffix(pattern.suffix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || name[0] == '0') {
    return std::nullopt;
  }
  return number;
}

std::optional<uint64_t> number_of(std::string_view name) {
  for (const Pattern& pattern : kPatterns) {
    if (const auto number = number_of(pattern, name)) return number;
  }
  return std::nullopt;
}

// The names of one list, all of one kind.
std::vector<std::string> read_names(const Fields& fields, const char* key, VmFileKind kind) {
  auto names = fields.texts(key, kMaxStateFiles, kMaxName);
  for (const std::string& name : names) {
    if (!is_numbered_file(kind, name)) fields.report(key, "has a file name that is none of ours");
  }
  return names;
}

std::vector<LayerCheck> read_checks(const Fields& fields) {
  std::vector<LayerCheck> checks;
  if (!fields.has("checks")) return checks;
  for (const Fields& each : fields.children("checks", kMaxStateFiles)) {
    checks.push_back({each.digest_or_empty("sha256"), each.number("size_bytes", UINT64_MAX),
                      each.number("inode", UINT64_MAX), each.number("mtime_ns", UINT64_MAX)});
  }
  return checks;
}

// A digest that is not known is left out.
Json to_json(const LayerCheck& check) {
  Json object = {
      {"size_bytes", check.size_bytes}, {"inode", check.inode}, {"mtime_ns", check.mtime_ns}};
  if (!check.sha256.empty()) object.set("sha256", check.sha256);
  return object;
}

}  // namespace

bool is_begun_layer(const fs::path& path) noexcept {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && info.st_size != 0;
}

std::string numbered_file(VmFileKind kind, uint64_t number) {
  const Pattern& pattern = kPatterns.at(static_cast<size_t>(kind));
  return std::string(pattern.prefix) + std::to_string(number) + std::string(pattern.suffix);
}

bool is_numbered_file(VmFileKind kind, std::string_view name) noexcept {
  return number_of(kPatterns[static_cast<size_t>(kind)], name).has_value();
}

Result<uint64_t> next_file_number(const fs::path& dir) {
  const auto names = list_dir(dir);
  if (!names) return base::fail(names.error());
  uint64_t highest = 0;
  for (const std::string& name : *names) highest = std::max(highest, number_of(name).value_or(0));
  return highest + 1;
}

Result<base::Fd> create_numbered_file(const fs::path& dir, const std::string& name) {
  return open_file(dir / name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

void keep_numbered_files(const fs::path& dir, const std::vector<std::string>& names) {
  const auto present = list_dir(dir);
  if (!present) return;
  for (const std::string& name : *present) {
    if (!number_of(name) || std::ranges::count(names, name) != 0) continue;
    std::error_code ec;
    fs::remove(dir / name, ec);
  }
}

std::vector<std::string> SavedState::files() const {
  std::vector<std::string> all = layers;
  all.insert(all.end(), pages.begin(), pages.end());
  all.push_back(state);
  return all;
}

std::string encode_run(const VmRun& run) {
  const Json object = {{"schema", kRunSchema},
                       {"worker_pid", run.worker_pid},
                       {"layers", run.layers},
                       {"pages", run.pages},
                       {"pages_known", run.pages_known ? 1 : 0},
                       {"keeps_logs", run.keeps_logs ? 1 : 0}};
  return dump_json(object, "a run's record").value_or("");
}

Result<VmRun> parse_run(std::string_view text, const std::string& file) {
  const auto object = parse_json_object(text, kMaxStateRecordBytes, file);
  if (!object) return base::fail(object.error());
  FieldErrors errors{file, {}};
  const Fields fields(*object, errors);
  fields.schema(kRunSchema);
  VmRun run;
  run.worker_pid = static_cast<uint32_t>(fields.number("worker_pid", INT32_MAX));
  run.layers = read_names(fields, "layers", VmFileKind::layer);
  run.pages = read_names(fields, "pages", VmFileKind::pages);
  run.pages_known = fields.number("pages_known", 1) == 1;
  run.keeps_logs = fields.number_or("keeps_logs", 1, 0) == 1;
  if (run.layers.empty()) fields.report("layers", "is empty");
  if (errors.first) return base::fail(*errors.first);
  return run;
}

std::string encode_saved(const SavedState& saved) {
  Json object = {{"schema", kSavedSchema},
                 {"saved", saved.saved},
                 {"layers", saved.layers},
                 {"pages", saved.pages},
                 {"state", saved.state}};
  std::vector<Json> checks;
  for (const LayerCheck& check : saved.checks) checks.push_back(to_json(check));
  if (!checks.empty()) object.set("checks", checks);
  return dump_json(object, "a saved state's record").value_or("");
}

Result<SavedState> parse_saved(std::string_view text, const std::string& file) {
  const auto object = parse_json_object(text, kMaxStateRecordBytes, file);
  if (!object) return base::fail(object.error());
  FieldErrors errors{file, {}};
  const Fields fields(*object, errors);
  fields.schema(kSavedSchema);
  SavedState saved;
  saved.saved = fields.text("saved", 32);
  saved.layers = read_names(fields, "layers", VmFileKind::layer);
  saved.pages = read_names(fields, "pages", VmFileKind::pages);
  saved.state = fields.text("state", kMaxName);
  if (!is_numbered_file(VmFileKind::state, saved.state)) {
    fields.report("state", "is a file name that is none of ours");
  }
  if (saved.layers.empty()) fields.report("layers", "is empty");
  saved.checks = read_checks(fields);
  if (!saved.checks.empty() && saved.checks.size() != saved.layers.size()) {
    fields.report("checks", "are not as many as the layers");
  }
  if (errors.first) return base::fail(*errors.first);
  return saved;
}

Result<VmRun> read_run(const fs::path& dir) {
  const auto text = read_text_file(dir / kRunFile, kMaxStateRecordBytes);
  if (!text) return base::fail(text.error());
  auto run = parse_run(*text, (dir / kRunFile).string());
  if (!run) return run;
  while (run->layers.size() > 1 && !is_begun_layer(dir / run->layers.back()))
    run->layers.pop_back();
  return run;
}

// Not synced: it is of no use once the worker is gone.
Result<void> write_run(const fs::path& dir, const VmRun& run) {
  const fs::path fresh = dir / "run.json.new";
  {
    const auto file = open_file(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (!file) return base::fail(file.error());
    const std::string text = encode_run(run);
    const auto written = write_all(file->get(), std::as_bytes(std::span(text)), fresh.string());
    if (!written) return written;
  }
  if (::rename(fresh.c_str(), (dir / kRunFile).c_str()) == 0) return {};
  return base::fail_errno("rename to " + (dir / kRunFile).string());
}

Result<std::optional<SavedState>> read_saved(const fs::path& dir) {
  const auto text = read_text_file(dir / kSavedFile, kMaxStateRecordBytes);
  if (!text) {
    if (text.error().code == ErrorCode::not_found) return std::nullopt;
    return base::fail(text.error());
  }
  auto saved = parse_saved(*text, (dir / kSavedFile).string());
  if (!saved) return base::fail(saved.error());
  return std::optional(std::move(*saved));
}

Result<void> write_saved(const fs::path& dir, const SavedState& saved) {
  return replace_file(dir / kSavedFile, encode_saved(saved));
}

}  // namespace microvm::host
