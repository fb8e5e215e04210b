// What a client of a program writes: over the streams that it has, and again over the next one
// where the last did not bring it.
#include <algorithm>
#include <utility>

#include "host/base/thread.hpp"
#include "host/session/exec_client.hpp"

namespace microvm::host {

using wire::FrameType;

Result<void> ExecClient::check_writable() const {
  if (writer_) return {};
  return base::fail(ErrorCode::busy, what() + " \"" + id_ + "\": this client only reads");
}

Result<void> ExecClient::write_stdin(wire::ByteView data, const Limits& limits) {
  const auto held = limits.lock(write_mutex_, what());
  if (!held) return base::fail(held.error());
  has_written_ = true;
  while (!data.empty()) {
    const auto piece = data.first(std::min<size_t>(data.size(), wire::kDataChunk));
    size_t taken = 0;
    if (auto sent = write_piece(piece, limits, taken); !sent) return sent;
    data = data.subspan(piece.size());
  }
  return {};
}

Result<size_t> ExecClient::try_write_stdin(wire::ByteView data) {
  const Limits limits = Limits::at_once();
  const auto held = limits.lock(write_mutex_, what());
  if (!held) return base::fail(held.error());
  has_written_ = true;
  auto taken = send_some(data, [&](wire::ByteView piece, size_t& of_piece) {
    return write_piece(piece, limits, of_piece);
  });
  look_at_poll_fd();
  return taken;
}

Result<void> ExecClient::write_piece(wire::ByteView piece, const Limits& limits, size_t& taken) {
  if (auto ok = check_writable(); !ok) return ok;
  if (settings_.reattach) return write_logged(piece, limits, taken);
  bool is_taken = false;
  auto sent = push(FrameType::stdin_data, piece, limits, &is_taken);
  taken = is_taken ? piece.size() : 0;
  return sent;
}

Result<void> ExecClient::write_logged(wire::ByteView piece, const Limits& limits, size_t& taken) {
  {
    const StreamRef stream = current();
    const std::scoped_lock lock(log_mutex_);
    stdin_.append(piece, stream->next_stdin);
  }
  auto sent = send_stdin(limits);
  taken = piece.size();
  if (sent) return sent;
  // What no stream has is as if it had not been written.
  const StreamRef stream = current();
  const std::scoped_lock lock(log_mutex_);
  const auto unsent = std::min<uint64_t>(piece.size(), stdin_.end() - stream->next_stdin);
  stdin_.take_back(unsent);
  taken -= unsent;
  return sent;
}

Result<void> ExecClient::close_stdin(const Limits& limits) {
  const auto held = limits.lock(write_mutex_, what());
  if (!held) return base::fail(held.error());
  if (auto ok = check_writable(); !ok) return ok;
  if (!settings_.reattach) return push(FrameType::stdin_end, {}, limits);
  bool was_closed = false;
  {
    const std::scoped_lock lock(log_mutex_);
    was_closed = std::exchange(stdin_closed_, true);
  }
  auto sent = send_stdin(limits);
  if (!sent && !current()->end_sent) {  // then nothing has happened
    const std::scoped_lock lock(log_mutex_);
    stdin_closed_ = was_closed;
  }
  return sent;
}

Result<void> ExecClient::send_stdin(const Limits& limits) {
  for (;;) {
    const StreamRef stream = current();
    const auto sent = send_rest(*stream, limits);
    if (!sent) return base::fail(sent.error());
    if (*sent) return {};
    if (auto again = come_back(stream, limits); !again) return again;
    if (auto ok = check_writable(); !ok) return ok;
  }
}

Result<wire::Bytes> ExecClient::next_piece(const Stream& stream) const {
  const std::scoped_lock lock(log_mutex_);
  if (auto kept = stdin_.check(stream.next_stdin, what()); !kept) return base::fail(kept.error());
  const auto piece = stdin_.from(stream.next_stdin, wire::kDataChunk);
  return wire::Bytes(piece.begin(), piece.end());
}

bool ExecClient::wants_end(const Stream& stream) const {
  const std::scoped_lock lock(log_mutex_);
  return stdin_closed_ && !stream.end_sent;
}

// False: the stream has ended.
Result<bool> ExecClient::send_rest(Stream& stream, const Limits& limits) {
  for (;;) {
    const auto piece = next_piece(stream);
    if (!piece) return base::fail(piece.error());
    const bool is_end = piece->empty();
    if (is_end && !wants_end(stream)) return true;
    bool taken = false;
    const auto sent = stream.operation.try_push(
        is_end ? FrameType::stdin_end : FrameType::stdin_data, *piece, limits, &taken);
    if (taken) stream.next_stdin += piece->size();
    if (taken && is_end) stream.end_sent = true;
    if (!sent || !*sent) return sent;
  }
}

// By a thread of its own: the program may not read, and whoever attached again wants to. Where the
// system has none the next write sends it.
void ExecClient::send_rest_later() {
  const std::scoped_lock lock(sender_mutex_);
  rest_wanted_ = true;
  if (!sender_.joinable()) {
    auto started = start_thread([this] { send_when_wanted(); }, what());
    if (started) sender_ = std::move(*started);
  }
  sender_wanted_.notify_all();
}

void ExecClient::send_when_wanted() {
  for (;;) {
    {
      std::unique_lock lock(sender_mutex_);
      sender_wanted_.wait(lock, [this] { return rest_wanted_ || closing_; });
      if (closing_) return;
      rest_wanted_ = false;
    }
    // One that has ended as well is for the next to see.
    const std::scoped_lock lock(write_mutex_);
    [[maybe_unused]] const auto sent = send_rest(*current(), Limits({}));
  }
}

Result<void> ExecClient::push(FrameType type, wire::ByteView body, const Limits& limits,
                              bool* taken) {
  for (;;) {
    const StreamRef stream = current();
    const auto sent = stream->operation.try_push(type, body, limits, taken);
    if (!sent) return base::fail(sent.error());
    if (*sent) return {};
    if (auto again = come_back(stream, limits); !again) return again;
  }
}

}  // namespace microvm::host
