#include "vmm/control/log.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "sys/file.hpp"

namespace microvm::vmm::control {
namespace {

// A watch for nothing of its own: that the reader has gone is always reported.
constexpr uint32_t kOnlyHangUp = POLLPRI;

}  // namespace

Log::~Log() {
  while (!readers_.empty()) drop(readers_.begin());
}

Result<void> Log::load(int fd) {
  const auto size = sys::file_size(fd);
  if (!size) return base::fail(size.error());
  wire::Bytes bytes(std::min<uint64_t>(*size, kLogRingBytes));
  if (auto ok = sys::pread_full(fd, bytes, *size - bytes.size()); !ok) return ok;
  load(bytes, bytes.size());
  return {};
}

void Log::load(wire::ByteView bytes, uint64_t end) {
  ring_.load(bytes, end);
  life_begin_ = end;
}

// One post covers all that is appended until the loop comes to it.
void Log::append(wire::ByteView bytes) {
  ring_.append(bytes);
  if (on_append_) on_append_();
  if (followers_ == 0 || feed_posted_.exchange(true)) return;
  loop_.post([this] {
    feed_posted_ = false;
    feed_all();
  });
}

Result<base::Fd> Log::open_reader(bool follow) {
  return add_reader(ring_.begin(), follow, false);
}

// A position that never was, of whatever life it is said to be, is the end.
Result<Log::Opened> Log::open_reader_at(uint64_t from, bool follow) {
  const uint64_t begin = std::clamp(from, ring_.begin(), ring_.end());
  auto stream = add_reader(begin, follow, true);
  if (!stream) return base::fail(stream.error());
  return Opened{std::move(*stream), begin};
}

Result<base::Fd> Log::add_reader(uint64_t from, bool follow, bool whole) {
  if (readers_.size() >= kMaxReaders) {
    return base::fail(ErrorCode::busy, "too many readers of this log");
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::fail_errno("pipe for a log");
  base::Fd read_end(ends[0]);
  base::Fd write_end(ends[1]);
  ::fcntl(write_end.get(), F_SETFL, O_NONBLOCK);
  const auto reader = readers_.insert(
      readers_.end(),
      Reader{std::move(write_end), from, ring_.end(), follow && !closed_, whole, 0});
  if (reader->follow) ++followers_;
  reader->watch = loop_.watch(reader->pipe.get(), POLLOUT, [this, reader](uint32_t events) {
    if ((events & POLLERR) != 0) return drop(reader);
    feed(reader);
  });
  return read_end;
}

void Log::close() {
  closed_ = true;
  for (Reader& reader : readers_) {
    if (reader.follow) reader.stop_at = ring_.end();
    reader.follow = false;
  }
  followers_ = 0;
  feed_all();
}

void Log::feed_all() {
  for (auto reader = readers_.begin(); reader != readers_.end();) feed(reader++);
}

// Writes until the reader has everything, or the pipe is full, or it was a lot: the watch brings us
// back. A guest that prints as fast as the reader reads must not keep the loop from others.
void Log::feed(Place reader) {
  constexpr int kChunksAtOnce = 16;
  std::array<std::byte, 16 * 1024> buffer;
  for (int i = 0; i < kChunksAtOnce; ++i) {
    if (!reader->follow && reader->position >= reader->stop_at) return drop(reader);
    const uint64_t left = reader->follow ? buffer.size() : reader->stop_at - reader->position;
    const size_t most = std::min<uint64_t>(left, buffer.size());
    const auto chunk = ring_.read(reader->position, std::span(buffer).first(most));
    if (chunk.bytes == 0) return loop_.rearm(reader->watch, kOnlyHangUp);
    if (reader->whole && chunk.next - chunk.bytes != reader->position) return drop(reader);
    const ssize_t put = ::write(reader->pipe.get(), buffer.data(), chunk.bytes);
    if (put < 0 && errno == EAGAIN) return loop_.rearm(reader->watch, POLLOUT);
    if (put < 0) return drop(reader);
    reader->position = chunk.next - (chunk.bytes - static_cast<size_t>(put));
  }
  loop_.rearm(reader->watch, POLLOUT);
}

void Log::drop(Place reader) {
  if (reader->follow && followers_ > 0) --followers_;
  loop_.unwatch(reader->watch);
  readers_.erase(reader);
}

}  // namespace microvm::vmm::control
