#include "host/saved/vm_logs.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "host/store/files.hpp"
#include "state/kept_logs.hpp"
#include "sys/file.hpp"
#include "wire/log_size.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;
using state::KeptLog;
using state::KeptLogIndex;
using state::KeptLogs;

constexpr const char* kKeptFile = "logs";
constexpr const char* kNewKeptFile = "logs.new";
constexpr std::pair<LogSource, KeptLogIndex> kSources[] = {
    {LogSource::kernel, KeptLogIndex::kernel}, {LogSource::app, KeptLogIndex::app}};

base::Fd open_to_read(const fs::path& path) {
  return base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
}

KeptLogIndex index_of_source(LogSource source) {
  return source == LogSource::app ? KeptLogIndex::app : KeptLogIndex::kernel;
}

const base::Fd& text_file(const LogFiles& files, LogSource source) {
  return source == LogSource::app ? files.app : files.kernel;
}

struct TextFile {
  uint64_t bytes = 0;
  uint64_t written_ns = 0;
};

TextFile look_at_text(const base::Fd& file) {
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) != 0) return {};
  return {static_cast<uint64_t>(info.st_size),
          static_cast<uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 +
              static_cast<uint64_t>(info.st_mtim.tv_nsec)};
}

Result<std::optional<KeptLogs>> read_header(const LogFiles& files) {
  if (!files.kept) return std::optional<KeptLogs>();
  return state::read_kept_logs(files.kept.get());
}

// An empty one says nothing: it is made before the first worker begins.
bool is_newer(const TextFile& text, const KeptLog& kept) {
  return text.bytes > 0 && text.written_ns != kept.text_written_ns;
}

Result<std::string> read_last_text(const base::Fd& file) {
  if (!file) return std::string();
  std::string text(wire::kMaxLogBytes, '\0');
  const auto got = ::pread(file.get(), text.data(), text.size(), 0);
  if (got < 0) return base::fail_errno("read the log");
  text.resize(static_cast<size_t>(got));
  return text;
}

// How much of it was there before nobody knows: rather twice than not at all.
Result<LogText> read_text_after(const base::Fd& file, uint64_t end) {
  auto text = read_last_text(file);
  if (!text) return base::fail(text.error());
  return LogText{.begin = end, .text = std::move(*text), .is_kept = false};
}

Result<LogText> read_log(const LogFiles& files, LogSource source,
                         const std::optional<KeptLogs>& header) {
  const base::Fd& file = text_file(files, source);
  const TextFile text = look_at_text(file);
  if (!header) return read_text_after(file, 0);
  const KeptLogIndex index = index_of_source(source);
  const KeptLog& kept = header->logs[static_cast<size_t>(index)];
  if (is_newer(text, kept)) return read_text_after(file, kept.end);
  const auto bytes = state::read_kept_log(files.kept.get(), *header, index);
  if (!bytes) return base::fail(bytes.error());
  return LogText{.begin = kept.begin, .text = std::string(wire::as_text(*bytes))};
}

// Where it need not be made anew.
bool is_up_to_date(const LogFiles& files, const Result<std::optional<KeptLogs>>& header) {
  if (!header) return false;
  for (const auto& [source, index] : kSources) {
    const KeptLog kept = *header ? (*header)->logs[static_cast<size_t>(index)] : KeptLog();
    if (is_newer(look_at_text(text_file(files, source)), kept)) return false;
  }
  return true;
}

// The damaged part of a damaged one is not worth a resume.
Result<base::Fd> write_kept_logs(const fs::path& vm_dir, const LogFiles& files,
                                 const std::optional<KeptLogs>& header) {
  auto file = open_file(vm_dir / kNewKeptFile, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
  if (!file) return file;
  KeptLogs logs{.turn = 1};
  for (const auto& [source, index] : kSources) {
    const auto log = read_log(files, source, header).value_or(LogText());
    KeptLog& kept = logs.logs[static_cast<size_t>(index)];
    kept.begin = log.begin;
    kept.end = log.begin + log.text.size();
    kept.text_written_ns = look_at_text(text_file(files, source)).written_ns;
    for (const auto& piece : state::kept_log_pieces(index, 0, log.text.size())) {
      if (auto ok = sys::pwrite_full(file->get(), wire::as_bytes(log.text), piece.offset); !ok) {
        return base::fail(ok.error());
      }
    }
  }
  const auto written = sys::pwrite_full(file->get(), state::encode_kept_logs(logs),
                                        state::kept_logs_header_offset(logs.turn));
  if (!written) return base::fail(written.error());
  if (::rename((vm_dir / kNewKeptFile).c_str(), (vm_dir / kKeptFile).c_str()) == 0) return file;
  return base::fail_errno("rename to " + (vm_dir / kKeptFile).string());
}

}  // namespace

LogFiles open_logs(const fs::path& vm_dir) {
  return {open_to_read(vm_dir / kKeptFile), open_to_read(vm_dir / kKernelLogFile),
          open_to_read(vm_dir / kAppLogFile)};
}

Result<LogFiles> duplicate_logs(const LogFiles& files) {
  LogFiles copies;
  const std::pair<const base::Fd*, base::Fd*> pairs[] = {
      {&files.kept, &copies.kept}, {&files.kernel, &copies.kernel}, {&files.app, &copies.app}};
  for (const auto& [from, to] : pairs) {
    if (!*from) continue;
    auto copy = sys::duplicate(from->get(), "read the log");
    if (!copy) return base::fail(copy.error());
    *to = std::move(*copy);
  }
  return copies;
}

Result<LogText> read_log(const LogFiles& files, LogSource source) {
  const auto header = read_header(files);
  if (!header) return base::fail(header.error());
  return read_log(files, source, *header);
}

Result<base::Fd> make_kept_logs(const fs::path& vm_dir) {
  auto file = open_file(vm_dir / kKeptFile, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!file) return file;
  const LogFiles files = open_logs(vm_dir);
  const auto header = read_header(files);
  if (!header && header.error().code != ErrorCode::corrupt) return base::Fd();
  if (is_up_to_date(files, header)) return file;
  // No room for it is no reason not to start: the worker takes the text files, as older ones do.
  auto written = write_kept_logs(vm_dir, files, header.value_or(std::nullopt));
  return written ? std::move(written) : base::Fd();
}

}  // namespace microvm::host
