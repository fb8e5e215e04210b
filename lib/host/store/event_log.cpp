#include "host/store/event_log.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "host/store/json_fields.hpp"
#include "sys/file.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr off_t kMaxLogBytes = 1 << 20;
constexpr size_t kMaxLineBytes = 4096;
constexpr std::array kNames = {"started",    "suspending",  "suspended",     "resumed",
                               "runs_on",    "forked",      "checkpointed",  "rolled_back",
                               "terminated", "hook_failed", "network_failed"};

fs::path log_path(const fs::path& data_dir) {
  return data_dir / kEventsFile;
}

fs::path older_log_path(const fs::path& data_dir) {
  return log_path(data_dir).string() + ".1";
}

bool is_file_at(const base::Fd& file, const fs::path& path) {
  struct stat ours{};
  struct stat named{};
  return ::fstat(file.get(), &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
         ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

// One that only a newer library knows is none.
VmEnd parse_end(std::string_view name) {
  for (const VmEnd end : {VmEnd::terminated, VmEnd::powered_off, VmEnd::reset, VmEnd::panicked,
                          VmEnd::crashed, VmEnd::killed}) {
    if (name == vm_end_name(end)) return end;
  }
  return VmEnd::none;
}

std::optional<VmEvent> parse_event(std::string_view line) {
  const auto object = parse_json_object(line, kMaxLineBytes, "events.jsonl");
  if (!object) return std::nullopt;
  FieldErrors errors{"events.jsonl", {}};
  const Fields fields(*object, errors);
  VmEvent event;
  event.time = fields.text("time", 32);
  event.vm_id = fields.text("vm", 12);
  const std::string kind = fields.text("event", 16);
  const auto* found = std::ranges::find(kNames, kind);
  event.kind = static_cast<VmEvent::Kind>(found - kNames.begin());
  event.cause = fields.text("cause", 128);
  event.took_us = fields.number("took_us", UINT64_MAX);
  event.detail = fields.text("detail", 2048);
  if (fields.has("end")) event.end = parse_end(fields.text("end", 16));
  if (errors.first || found == kNames.end()) return std::nullopt;
  return event;
}

}  // namespace

void append_event(const fs::path& data_dir, const VmEvent& event) {
  Json object = {
      {"time", event.time},   {"vm", event.vm_id},        {"event", vm_event_name(event.kind)},
      {"cause", event.cause}, {"took_us", event.took_us}, {"detail", event.detail.substr(0, 1024)}};
  if (event.end != VmEnd::none) object.set("end", vm_end_name(event.end));
  const std::string line = json_line(object) + "\n";
  const fs::path path = log_path(data_dir);
  const base::Fd file(
      ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) != 0) return;
  [[maybe_unused]] const ssize_t written = ::write(file.get(), line.data(), line.size());
  if (info.st_size < kMaxLogBytes) return;
  // One writer at a time: the next would give the older name to the file after this one, and this
  // one none. Not waited for, as a forked child may have a copy of it.
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 || !is_file_at(file, path)) return;
  std::error_code ec;
  fs::rename(path, older_log_path(data_dir), ec);
}

// ---- reading -----------------------------------------------------------------------------------

// None: it is not there. What is no file would keep who opens or reads it waiting.
Result<std::optional<EventReader::File>> EventReader::File::open(const fs::path& path) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::nullopt;
  if (!fd) return base::fail_errno("open " + path.string());
  if (auto ok = sys::check_regular_file(fd.get(), path.string()); !ok) {
    return base::fail(ok.error());
  }
  return File(std::move(fd));
}

bool EventReader::File::is(const fs::path& path) const {
  return is_file_at(fd_, path);
}

std::optional<VmEvent> EventReader::File::take_event() {
  for (;;) {
    const size_t end = text_.find('\n', taken_);
    if (end == std::string::npos) return std::nullopt;
    const auto line = std::string_view(text_).substr(taken_, end - taken_);
    taken_ = end + 1;
    if (auto event = parse_event(line)) return event;
  }
}

Result<bool> EventReader::File::read() {
  text_.erase(0, taken_);
  taken_ = 0;
  if (text_.size() > kMaxLineBytes) text_.clear();
  const size_t kept = text_.size();
  text_.resize(kept + kPieceBytes);
  const ssize_t got = ::read(fd_.get(), text_.data() + kept, kPieceBytes);
  text_.resize(kept + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) return base::fail_errno("read the events");
  return got > 0;
}

Result<EventReader> EventReader::open(const fs::path& data_dir, bool follow) {
  EventReader reader(data_dir, follow);
  auto now = File::open(log_path(data_dir));
  if (!now) return base::fail(now.error());
  auto before = File::open(older_log_path(data_dir));
  if (!before) return base::fail(before.error());
  reader.now_ = std::move(*now);
  // It may have been the other one a moment before.
  if (*before && reader.now_ && reader.now_->is(older_log_path(data_dir))) return reader;
  reader.before_ = std::move(*before);
  return reader;
}

Result<EventReader::Found> EventReader::next() {
  for (int pieces = 0; pieces < kPiecesAtOnce;) {
    for (auto* file : {&before_, &now_}) {
      if (!*file) continue;
      if (auto event = (*file)->take_event()) return Found{std::move(event), false};
    }
    const auto more = read_piece();
    if (!more) return base::fail(more.error());
    if (*more) {
      ++pieces;
      continue;
    }
    const auto moved = follow_ ? move_on() : Result<bool>(false);
    if (!moved) return base::fail(moved.error());
    if (!*moved) return Found{std::nullopt, true};
  }
  return Found{};
}

// Of the older file first: who had it open when it got its new name writes to it a moment later.
Result<bool> EventReader::read_piece() {
  for (auto* file : {&before_, &now_}) {
    if (!*file) continue;
    const auto got = (*file)->read();
    if (!got || *got) return got;
  }
  return false;
}

// To the file after this one, once there is one. Of two that came since, the first is the older.
Result<bool> EventReader::move_on() {
  if (now_ && now_->is(log_path(data_dir_))) return false;
  auto next = File::open(log_path(data_dir_));
  const auto older = older_log_path(data_dir_);
  if (next && now_ && !now_->is(older) && !(before_ && before_->is(older))) {
    auto skipped = File::open(older);
    if (!skipped) return base::fail(skipped.error());
    if (*skipped) next = std::move(skipped);
  }
  if (!next) return base::fail(next.error());
  if (!*next) return false;
  if (now_) before_ = std::move(now_);
  now_ = std::move(*next);
  return true;
}

}  // namespace microvm::host

namespace microvm {

const char* vm_event_name(VmEvent::Kind kind) noexcept {
  const auto index = static_cast<size_t>(kind);
  return index < host::kNames.size() ? host::kNames[index] : "unknown";
}

}  // namespace microvm
