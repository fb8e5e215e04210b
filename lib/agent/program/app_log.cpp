#include "agent/program/app_log.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "agent/base/time.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kSendBytes = 16 * 1024;
constexpr int64_t kLongestPauseMs = 250;

// Everything, or false: the stream is broken.
bool send_all(int stream, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = send(stream, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return true;
}

// close() then returns only when the other side has taken everything (vsock keeps this promise).
void close_when_delivered(base::Fd stream) {
  const linger patience{.l_onoff = 1, .l_linger = 1};
  setsockopt(stream.get(), SOL_SOCKET, SO_LINGER, &patience, sizeof patience);
}

}  // namespace

void AppLog::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void AppLog::write(std::span<const std::byte> bytes) {
  const Lock lock(mutex_);
  while (!bytes.empty() && !finished_) {
    if (room() == 0 && host_ == Host::reachable) {
      changed_.wait(mutex_);
      continue;
    }
    if (room() == 0) drop_oldest(std::min(bytes.size(), kCapacityBytes));
    bytes = bytes.subspan(append(bytes));
    changed_.notify_all();
  }
}

size_t AppLog::append(std::span<const std::byte> bytes) {
  const size_t end = (begin_ + size_) % kCapacityBytes;
  const size_t count = std::min({bytes.size(), room(), kCapacityBytes - end});
  std::copy_n(bytes.begin(), count, ring_.begin() + static_cast<ptrdiff_t>(end));
  size_ += count;
  return count;
}

void AppLog::drop_oldest(size_t count) {
  const size_t dropped = std::min(count, size_);
  begin_ = (begin_ + dropped) % kCapacityBytes;
  size_ -= dropped;
  lost_bytes_ += dropped;
}

size_t AppLog::peek(std::span<std::byte> out) const {
  const size_t count = std::min({out.size(), size_, kCapacityBytes - begin_});
  std::copy_n(ring_.begin() + static_cast<ptrdiff_t>(begin_), count, out.begin());
  return count;
}

// False: finished, and nothing is left.
bool AppLog::wait_for_data() {
  const Lock lock(mutex_);
  while (size_ == 0 && !finishing_) changed_.wait(mutex_);
  return size_ != 0;
}

// False: the stream is broken, and what was not sent is still in the ring.
bool AppLog::send_some(int stream) {
  std::array<std::byte, kSendBytes> chunk{};
  size_t count = 0;
  size_t lost = 0;
  {
    const Lock lock(mutex_);
    count = peek(chunk);
    lost = lost_bytes_;
  }
  if (lost != 0) {
    const std::string note = "[" + std::to_string(lost) + " bytes of output were lost here]\n";
    if (!send_all(stream, std::as_bytes(std::span(note.data(), note.size())))) return false;
  }
  if (!send_all(stream, std::span(chunk).first(count))) return false;
  const Lock lock(mutex_);
  begin_ = (begin_ + count) % kCapacityBytes;
  size_ -= count;
  lost_bytes_ -= lost;
  changed_.notify_all();
  return true;
}

// Tries until it succeeds, or there is no more time for it.
void AppLog::reconnect(Connect connect, base::Fd& stream) {
  stream = connect();
  for (int64_t pause_ms = 1; !stream; pause_ms = std::min(pause_ms * 2, kLongestPauseMs)) {
    {
      const Lock lock(mutex_);
      host_ = Host::away;
      changed_.notify_all();
      if (finished_) return;
    }
    sleep_ms(pause_ms);
    stream = connect();
  }
  const Lock lock(mutex_);
  host_ = Host::reachable;
}

void AppLog::run(Connect connect) {
  base::Fd stream;
  while (wait_for_data()) {
    if (!stream) reconnect(connect, stream);
    if (!stream) return;
    if (!send_some(stream.get())) stream.reset();
  }
  if (stream) close_when_delivered(std::move(stream));
  const Lock lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

void AppLog::finish(int64_t timeout_ms) {
  const auto deadline = Deadline::after_ms(timeout_ms);
  const Lock lock(mutex_);
  finishing_ = true;
  changed_.notify_all();
  while (!finished_ && !deadline.passed()) changed_.wait_until(mutex_, deadline);
  finished_ = true;
  changed_.notify_all();
}

}  // namespace microvm::agent
