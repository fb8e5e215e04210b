// One process's conversation with a running worker: any thread calls, the reactor's thread sorts
// the replies.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "host/worker/control_channel.hpp"
#include "host/worker/reactor.hpp"

namespace microvm::host {

// Of the request that is answered to Ahead::asked.
inline constexpr uint32_t kAheadId = wire::kGreetingId - 2;

class ControlClient : public std::enable_shared_from_this<ControlClient> {
 public:
  struct Reply {
    wire::Message message;
    std::vector<base::Fd> fds;
  };
  // The guest's agent rang; called on the reactor's thread.
  using AgentHandler = std::function<void(base::Fd stream)>;

  // The worker has said how it ends, or is gone; called once, on the reactor's thread, and not when
  // this side hangs up.
  using EndHandler = std::function<void()>;
  // The guest's network came or went; likewise, as often as it happens.
  using NetworkHandler = std::function<void(wire::NetworkEvent)>;
  // Whose worker it is: one that this library started speaks its version of the control wire. Any
  // other is asked, and calls wait until it has answered.
  enum class Peer : uint8_t { unknown, own };

  // A connection to the agent that launch_guest() has asked for: the answer comes to this client,
  // and the stream is kept for whoever needs one first; for a few seconds, then it is closed.
  enum class Ahead : uint8_t { none, asked };

  // The reactor must outlive every call of close().
  static std::shared_ptr<ControlClient> start(Reactor& reactor, base::Fd socket,
                                              AgentHandler on_agent, EndHandler on_end = {},
                                              Peer peer = Peer::unknown, Ahead ahead = Ahead::none,
                                              NetworkHandler on_network = {});
  ~ControlClient();

  // Sends a request and waits for its reply. Errors: the worker's own (ErrorReply), vm_gone or
  // guest_failed when the Vm ends meanwhile, protocol, unsupported (a worker of another version can
  // not do it), cancelled, deadline_exceeded. A reply that comes after that is dropped with its
  // fds. `what` begins messages.
  Result<Reply> call(wire::Message request, std::span<const int> fds, const Limits& limits,
                     std::string_view what);
  // The same for requests whose reply is a stream.
  Result<base::Fd> call_for_stream(wire::Message request, const Limits& limits,
                                   std::string_view what);

  // The stream that was asked for ahead; none when it is not there (any more) or can not be had.
  // Errors: those of the limits, which hold while the worker has not answered.
  Result<base::Fd> take_ahead(const Limits& limits, std::string_view what);
  void drop_ahead() { static_cast<void>(claim_ahead()); }

  // call() without waiting, for the reactor's thread: `done` is called there, once, also when the
  // conversation ends. No fds go with the request.
  using ReplyHandler = std::function<void(Result<Reply>)>;
  void ask(wire::Message request, std::string what, ReplyHandler done);

  // True once the worker closed the connection.
  [[nodiscard]] bool ended() const;
  // The same, also when the reactor has not come to see it yet. Asks the socket and nothing else.
  [[nodiscard]] bool hung_up() const;
  // The same, or the worker has said how it ends: nothing more is to be had from it.
  [[nodiscard]] bool ending() const;
  // Readable for good once it is; for poll().
  [[nodiscard]] int ended_fd() const { return ended_event_.get(); }
  Result<void> wait_ended(const Limits& limits, std::string_view what) const;
  // How the Vm ended, when the worker said so.
  [[nodiscard]] std::optional<wire::ExitEvent> exit_event() const;
  // The first thing that the host could not read or write for the guest. It is known before what
  // the worker says later, so before the reply of a call that was made after it.
  [[nodiscard]] std::optional<Error> disk_error() const;
  // Why a call or a stream failed; gives the end of the Vm a moment to arrive.
  [[nodiscard]] Error explain(std::string_view what) const;

  // Hangs up. Pending calls fail; idempotent.
  void close();

 private:
  struct Call;
  ControlClient(Reactor& reactor, base::Fd socket, AgentHandler on_agent, EndHandler on_end,
                NetworkHandler on_network);
  void greet();
  void on_greeted(const wire::Message& answer);
  [[nodiscard]] std::optional<uint16_t> known_version() const;
  // The version to speak, once the worker has said what it knows.
  Result<uint16_t> version(const Limits& limits, std::string_view what);
  Result<uint32_t> add_call(const std::shared_ptr<Call>& call, std::string_view what);
  void expect_ahead();
  std::shared_ptr<Call> claim_ahead();
  void watch();
  void on_readable();
  void dispatch(Received received);
  void on_reply(uint32_t request_id, Received received);
  void send_outgoing();
  void refuse(uint32_t request_id, const Error& why);
  void finish(std::optional<Error> broken);
  void tell_end();
  [[nodiscard]] Error end_error(std::string_view what) const;

  Reactor& reactor_;
  base::Fd socket_;
  base::Fd ended_event_;   // an eventfd, readable for good once the conversation is over
  AgentHandler on_agent_;  // reactor's thread only, as on_end_ and watch_
  EndHandler on_end_;
  const NetworkHandler on_network_;
  std::deque<wire::Envelope> outgoing_;  // of ask(), while the worker takes none; likewise
  bool sends_later_ = false;             // likewise
  std::optional<sys::Loop::WatchId> watch_;

  mutable std::mutex mutex_;
  std::map<uint32_t, std::shared_ptr<Call>> calls_;
  uint32_t last_id_ = 0;
  std::shared_ptr<Call> ahead_;      // none: nobody has asked, or it was taken
  std::shared_ptr<Call> greeting_;   // none: the worker is our own
  std::optional<uint16_t> version_;  // to speak; none until it is known
  bool ended_ = false;
  std::optional<Error> broken_;
  std::optional<wire::ExitEvent> exit_;
  std::optional<Error> disk_error_;
};

}  // namespace microvm::host
