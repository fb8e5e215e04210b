#include "vmm/control/log_keeper.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "sys/file.hpp"

namespace microvm::vmm::control {
namespace {

using state::KeptLog;
using state::KeptLogIndex;

constexpr std::array kBothLogs = {KeptLogIndex::kernel, KeptLogIndex::app};
// For a write under way when the worker ends.
constexpr std::chrono::milliseconds kLastWriteLimit{1000};

uint64_t written_ns(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return 0;
  return static_cast<uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 +
         static_cast<uint64_t>(info.st_mtim.tv_nsec);
}

// Right behind what the file has, so that this is not overwritten before the new header counts.
KeptLog next_to(const KeptLog& kept, uint64_t begin, uint64_t end) {
  KeptLog next = kept;
  const uint64_t skipped = std::min(begin, kept.end) - std::min(begin, kept.begin);
  next.at = static_cast<uint32_t>((kept.at + skipped) % state::kKeptLogArea);
  next.begin = begin;
  next.end = end;
  return next;
}

}  // namespace

bool LogKeeper::load(base::Fd file) {
  const auto kept = state::read_kept_logs(file.get());
  if (!kept && kept.error().code != ErrorCode::corrupt) return false;
  file_ = std::move(file);
  for (Log* log : logs_) log->on_append([this] { note(); });
  if (!kept || !*kept) return true;
  kept_ = **kept;
  for (const KeptLogIndex index : kBothLogs) {
    const KeptLog& log = kept_.logs[static_cast<size_t>(index)];
    const auto bytes = state::read_kept_log(file_.get(), kept_, index);
    logs_[static_cast<size_t>(index)]->load(bytes ? wire::ByteView(*bytes) : wire::ByteView(),
                                            log.end);
  }
  return true;
}

// A header, though nothing was printed: empty logs are not lost ones.
void LogKeeper::begin() {
  if (file_) note();
}

void LogKeeper::note() {
  if (noted_.load() || noted_.exchange(true)) return;
  loop_.post([this] { loop_.after(kDelay, [this] { keep(); }); });
}

void LogKeeper::keep() {
  if (writing_) {
    loop_.after(kDelay, [this] { keep(); });
    return;
  }
  noted_ = false;  // before the look: what is appended after it is noted again
  writing_ = true;
  write_part(prepare());
}

std::shared_ptr<LogKeeper::Write> LogKeeper::prepare() const {
  auto write = std::make_shared<Write>();
  write->next = kept_;
  ++write->next.turn;
  for (const KeptLogIndex index : kBothLogs) add_log(index, *write);
  write->parts.push_back({.offset = state::kept_logs_header_offset(write->next.turn),
                          .bytes = state::encode_kept_logs(write->next)});
  for (auto& part : write->parts) part.buffer = {part.bytes.data(), part.bytes.size()};
  return write;
}

void LogKeeper::add_log(KeptLogIndex index, Write& write) const {
  const auto place = static_cast<size_t>(index);
  const LogRing& ring = logs_[place]->ring();
  const KeptLog& kept = kept_.logs[place];
  const uint64_t wanted = std::max(kept.end, ring.begin());
  wire::Bytes fresh(std::min<uint64_t>(std::max(ring.end(), wanted) - wanted, kLogRingBytes));
  const auto chunk = ring.read(wanted, fresh);
  fresh.resize(chunk.bytes);
  const uint64_t from = chunk.next - chunk.bytes;
  // Without a gap it begins where it did, or as far back as is kept; else with what is there now.
  const uint64_t oldest = chunk.next - std::min<uint64_t>(chunk.next, kLogRingBytes);
  const uint64_t begin = from == kept.end ? std::max(kept.begin, oldest) : from;
  KeptLog next = next_to(kept, begin, chunk.next);
  const auto at = static_cast<uint32_t>((next.at + (from - begin)) % state::kKeptLogArea);
  size_t taken = 0;
  for (const auto& piece : state::kept_log_pieces(index, at, fresh.size())) {
    const auto bytes = wire::ByteView(fresh).subspan(taken, piece.bytes);
    write.parts.push_back({.offset = piece.offset, .bytes = {bytes.begin(), bytes.end()}});
    taken += piece.bytes;
  }
  write.next.logs[place] = next;
}

void LogKeeper::write_part(const std::shared_ptr<Write>& write) {
  if (write->done == write->parts.size()) return end_write(*write, true);
  const Write::Part& part = write->parts[write->done];
  loop_.write_file(file_.get(), {&part.buffer, 1}, part.offset, [this, write](int64_t put) {
    if (put != static_cast<int64_t>(write->parts[write->done].bytes.size())) {
      return end_write(*write, false);
    }
    ++write->done;
    write_part(write);
  });
}

// On a full disk the file stays as it was until there is room at a later time.
void LogKeeper::end_write(const Write& write, bool is_good) {
  writing_ = false;
  if (is_good) kept_ = write.next;
}

void LogKeeper::finish(const std::array<int, state::kKeptLogCount>& text_files) {
  if (!file_) return;
  const auto deadline = std::chrono::steady_clock::now() + kLastWriteLimit;
  while (writing_ && std::chrono::steady_clock::now() < deadline) {
    loop_.run_once(std::chrono::milliseconds(20));
  }
  if (writing_) return;
  for (size_t i = 0; i < text_files.size(); ++i) {
    kept_.logs[i].text_written_ns = written_ns(text_files[i]);
  }
  const auto write = prepare();
  for (const auto& part : write->parts) {
    if (!sys::pwrite_full(file_.get(), part.bytes, part.offset)) return;
  }
  kept_ = write->next;
}

}  // namespace microvm::vmm::control
