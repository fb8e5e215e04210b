// One client of a program of exec, over all streams that it has to it one after the other.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "host/session/agent_client.hpp"
#include "host/session/operation.hpp"
#include "host/session/stdin_log.hpp"
#include "host/session/stream_end.hpp"
#include "microvm/exec.hpp"

namespace microvm::host {

// Until an agent has forgotten a program whose end was told; one that is stuck is not waited for.
inline constexpr std::chrono::seconds kForgetLimit{1};

// Held by shared_ptr only.
class ExecClient : public std::enable_shared_from_this<ExecClient> {
 public:
  struct Settings {
    std::shared_ptr<StreamHome> home;  // none: the stream is all there is
    bool reattach = false;
    bool kills = false;     // when it goes before the end
    bool has_name = false;  // that a person gave, and may give again to another program
  };
  ExecClient(Operation operation, Settings settings);
  ~ExecClient();
  ExecClient(const ExecClient&) = delete;
  ExecClient& operator=(const ExecClient&) = delete;

  // The agent's answer to the request that was sent.
  Result<void> begin(const Limits& limits);

  // --- one thread
  Result<std::optional<ExecOutput>> read(const Limits& limits);
  // Discards what it reads.
  Result<ExitStatus> wait(const Limits& limits);

  // --- any thread
  Result<void> write_stdin(wire::ByteView data, const Limits& limits);
  // What goes without waiting, at least a byte.
  Result<size_t> try_write_stdin(wire::ByteView data);
  Result<void> close_stdin(const Limits& limits);
  Result<void> send_signal(wire::ByteView request, const Limits& limits);
  Result<void> detach(const Limits& limits);
  // Its handle goes; an errand may have it for longer.
  void drop() { dropped_ = true; }
  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] uint32_t pid() const { return pid_; }
  [[nodiscard]] uint64_t position() const { return position_; }
  [[nodiscard]] bool writer() const { return writer_; }
  [[nodiscard]] int fd() const;

 private:
  // One stream. Who uses it holds it, so that it stays its own while another takes its place.
  struct Stream {
    Stream(Operation op, const std::shared_ptr<StreamHome>& home)
        : operation(std::move(op)), end(home) {}
    Operation operation;
    StreamEnd end;
    uint64_t next_stdin = 0;  // with write_mutex_: of the log, to send over this one
    bool end_sent = false;    // likewise
  };
  using StreamRef = std::shared_ptr<Stream>;

  [[nodiscard]] StreamRef current() const;
  [[nodiscard]] const std::string& what() const { return what_; }
  void on_started(const microvm_agent_Started& started, Stream& stream);
  [[nodiscard]] Error why_ended(const Stream& stream, const Limits& limits) const;
  // After a stream has ended: when this returns without an error there is another one.
  Result<void> come_back(const StreamRef& lost, const Limits& limits);
  [[nodiscard]] bool may_come_back() const { return settings_.reattach && !unwanted() && !over_; }
  [[nodiscard]] bool unwanted() const { return left_ || dropped_; }
  void let_go();
  void kill_and_forget(const std::shared_ptr<AgentLink>& link) const;
  void attach_as_errand(const StreamRef& lost, const Limits& limits);
  // After a call that must not wait has sent what went.
  void look_at_poll_fd();

  // --- with read_mutex_
  Result<std::optional<Frame>> next_frame(Stream& stream, const Limits& limits);
  Result<bool> take(const Frame& frame, const Stream& stream, const Limits& limits);
  Result<void> on_exited(const Frame& frame, const Limits& limits);
  Result<std::optional<ExecOutput>> at_end(const Limits& limits);
  using ReadLock = std::unique_lock<std::timed_mutex>;
  Result<ReadLock> lock_to_come_back(const StreamRef& lost, const Limits& limits);
  // Gives the lock back when it has attached, or failed to.
  Result<void> attach_again(ReadLock& held, const StreamRef& lost, const Limits& limits);
  Result<void> attach_now(const StreamRef& lost, const Limits& limits);
  // For calls that must not wait: by an errand.
  Result<void> attach_later(const StreamRef& lost);
  Result<void> keep_rest(Stream& stream, const Limits& limits);
  [[nodiscard]] Result<uint64_t> end_of_rest() const;
  Result<StreamRef> open_again(const std::shared_ptr<AgentLink>& link, const Limits& limits);
  [[nodiscard]] Result<void> check_stdin(const microvm_agent_Started& started) const;
  void adopt(StreamRef stream);
  void point_poll_fd();
  void replace_poll_fd(int by);
  // As long as it is not known what comes after the stream that has ended, those who poll wait.
  void keep_pollers_quiet();
  void wake_pollers();

  // --- with write_mutex_
  [[nodiscard]] Result<void> check_writable() const;
  // `taken`: how much of the piece, also when it fails.
  Result<void> write_piece(wire::ByteView piece, const Limits& limits, size_t& taken);
  Result<void> write_logged(wire::ByteView piece, const Limits& limits, size_t& taken);
  Result<void> send_stdin(const Limits& limits);
  Result<bool> send_rest(Stream& stream, const Limits& limits);

  // Error: the agent asks for what is not kept.
  [[nodiscard]] Result<wire::Bytes> next_piece(const Stream& stream) const;
  [[nodiscard]] bool wants_end(const Stream& stream) const;
  Result<void> push(wire::FrameType type, wire::ByteView body, const Limits& limits,
                    bool* taken = nullptr);
  void send_rest_later();
  void send_when_wanted();

  const Settings settings_;
  const std::string what_ = "exec";
  std::string id_;
  bool begun_ = false;
  std::atomic<bool> has_written_{false};
  std::atomic<uint32_t> pid_{0};
  std::atomic<bool> writer_{false};
  std::atomic<uint64_t> position_{0};
  std::atomic<bool> left_{false};
  std::atomic<bool> dropped_{false};
  std::atomic<bool> over_{false};  // the program has ended, and this client has been told

  mutable std::mutex stream_mutex_;
  StreamRef stream_;
  base::Fd poll_fd_;                    // the number that callers poll; none: the stream's own
  bool is_attaching_ = false;           // an errand is on its way
  std::optional<Error> attach_failed_;  // and came to this; for the next call that must not wait

  std::timed_mutex read_mutex_;
  std::deque<Frame> rest_;  // of a stream that has ended, not read yet
  // Until the reader comes, callers poll the stream before, which has ended and so is readable, or
  // what stood in its place while another one was looked for.
  bool poll_fd_is_old_ = false;
  // What callers polled before, oldest first. An epoll forgets a file at its last close, with what
  // it has not told of it yet: each stays for as long as those who wait for it need to be woken.
  struct PolledBefore {
    base::Fd file;
    std::chrono::steady_clock::time_point until;
  };
  std::deque<PolledBefore> polled_before_;
  uint64_t lost_ = 0;  // since the last piece of output
  uint32_t pen_ = 0;
  std::optional<ExitStatus> ended_;
  Farewell farewell_;

  std::mutex quiet_mutex_;  // of the next
  base::Fd quiet_peer_;     // what callers poll is quiet until this is closed

  std::timed_mutex write_mutex_;

  mutable std::mutex log_mutex_;  // of these two
  StdinLog stdin_;
  bool stdin_closed_ = false;

  std::mutex sender_mutex_;  // of the rest
  std::condition_variable sender_wanted_;
  bool rest_wanted_ = false;
  bool closing_ = false;
  std::thread sender_;  // sends again what a stream before did not bring
};

}  // namespace microvm::host
