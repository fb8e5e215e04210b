#include "host/store/event_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <thread>

#include "base/fd.hpp"
#include "host/store/json_fields.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr off_t kMaxLogBytes = 1 << 20;
constexpr size_t kMaxLineBytes = 4096;
constexpr std::array kNames = {"started",    "suspending", "suspended",    "resumed",
                               "runs_on",    "forked",     "checkpointed", "rolled_back",
                               "terminated", "hook_failed"};

fs::path log_path(const fs::path& data_dir) {
  return data_dir / "events.jsonl";
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

// A file piece by piece; keeps the beginning of a line that is not whole yet.
class LineReader {
 public:
  explicit LineReader(base::Fd file) : file_(std::move(file)) {}

  // False: nothing more now.
  bool read(const std::function<void(const VmEvent&)>& sink) {
    std::array<char, 16 * 1024> piece;
    const ssize_t got = ::read(file_.get(), piece.data(), piece.size());
    if (got <= 0) return false;
    pending_.append(piece.data(), static_cast<size_t>(got));
    for (size_t end = pending_.find('\n'); end != std::string::npos; end = pending_.find('\n')) {
      if (const auto event = parse_event(std::string_view(pending_).substr(0, end))) sink(*event);
      pending_.erase(0, end + 1);
    }
    if (pending_.size() > kMaxLineBytes) pending_.clear();
    return true;
  }

  [[nodiscard]] bool is(const fs::path& path) const {
    struct stat ours{};
    struct stat named{};
    return ::fstat(file_.get(), &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
           ours.st_ino == named.st_ino;
  }

 private:
  base::Fd file_;
  std::string pending_;
};

base::Fd open_log(const fs::path& path) {
  return base::Fd(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
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
  std::error_code ec;
  fs::rename(path, path.string() + ".1", ec);
}

Result<void> read_events(const fs::path& data_dir, bool follow,
                         const std::function<void(const VmEvent&)>& sink, const Limits& limits) {
  constexpr std::chrono::milliseconds kFollowInterval{100};
  const fs::path path = log_path(data_dir);
  LineReader before(base::Fd(::open((path.string() + ".1").c_str(), O_RDONLY | O_CLOEXEC)));
  while (before.read(sink)) {
  }
  for (LineReader now(open_log(path));;) {
    while (now.read(sink)) {
      if (auto ok = limits.check("events"); !ok) return ok;
    }
    if (!follow) return {};
    if (!now.is(path)) now = LineReader(open_log(path));
    if (auto ok = limits.check("events"); !ok) return ok;
    std::this_thread::sleep_for(kFollowInterval);
  }
}

}  // namespace microvm::host

namespace microvm {

const char* vm_event_name(VmEvent::Kind kind) noexcept {
  const auto index = static_cast<size_t>(kind);
  return index < host::kNames.size() ? host::kNames[index] : "unknown";
}

}  // namespace microvm
