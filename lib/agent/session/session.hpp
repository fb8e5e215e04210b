// A program and everybody who is attached to it: what terminals and programs of exec have in
// common. A session belongs to the guest and not to a connection, so it outlives its clients and a
// snapshot. A thread does all the work, from the program's start until it has ended and the last
// client has left; the operations' threads only leave their wishes here.
#pragma once

#include <poll.h>

#include <string>
#include <vector>

#include "agent/base/sync.hpp"
#include "agent/link/channel.hpp"
#include "agent/program/program.hpp"
#include "agent/session/session_client.hpp"

namespace microvm::agent {

// What differs between kinds of sessions and needs no code.
struct SessionRules {
  const char* noun;  // "terminal"
  size_t max_clients;
  size_t ended_ring_bytes;  // of the output, kept when the program has ended
};

class Session {
 public:
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // --- on the session's thread
  // Returns when the program has ended and nobody is left to be told.
  void serve();

  // --- on any thread
  [[nodiscard]] const std::string& id() const { return id_; }
  // "terminal \"3\""
  [[nodiscard]] std::string name() const { return std::string(rules_.noun) + " \"" + id_ + "\""; }
  // True: no thread serves this ended session, and the caller has to find one for serve().
  [[nodiscard]] bool attach(Wish wish);
  // Has the program end, however it does. True when it has within the time.
  [[nodiscard]] bool end_program(int64_t timeout_ms);
  // To its process group. Error: it has ended.
  [[nodiscard]] Outcome<void> signal(int signal);
  // Nobody wants to know how it ends.
  void give_up_status();
  // Once the program has ended, its clients have to go.
  void dismiss();
  [[nodiscard]] bool ended();
  // The later it ended, the greater.
  [[nodiscard]] uint64_t end_number();
  // Somebody has the exit status: it need not be kept.
  [[nodiscard]] bool collected();
  // Clients that are not through with it.
  [[nodiscard]] bool in_use();
  // Of one that has ended and that nobody looks at: how much it keeps, and that it is to keep less.
  [[nodiscard]] size_t kept_bytes();
  void keep_less(size_t ring_bytes);

 protected:
  Session(const SessionRules& rules, const ClientPace& pace, std::string id, base::Fd wake,
          Ring ring);

  // --- what a kind of session does; all on its thread
  // Adds what its program is waited for: kProgramSlots of them. `read_more`: there is room for
  // output.
  static constexpr size_t kProgramSlots = 3;
  virtual void watch_program(std::vector<pollfd>& polls, bool read_more) = 0;
  virtual void serve_program(std::span<const pollfd> polls) = 0;
  [[nodiscard]] virtual int program_timeout_ms() const { return -1; }
  // The program has ended; it is reaped after that.
  virtual void leave_program() = 0;
  // All it has put out is in the ring.
  [[nodiscard]] virtual bool drained() const { return true; }
  virtual void begin_end() = 0;
  virtual void signal_program(int signal) { child_.kill_group(signal); }
  [[nodiscard]] virtual bool timed_out() const { return false; }
  // A new client: what may be wrong with its wish, where it starts, its first frame.
  [[nodiscard]] virtual Outcome<void> check(const Wish& wish) const = 0;
  [[nodiscard]] virtual uint64_t start_position(const Wish& wish) const;
  virtual void welcome(SessionClient& client, const Wish& wish) = 0;
  // A client has gone without a word, or said that it leaves.
  enum class Gone : uint8_t { lost, left };
  virtual void on_gone(const SessionClient& client, Gone how) = 0;
  // What a client sends; those which every kind knows are handled before.
  [[nodiscard]] virtual bool expects(FrameType type) const = 0;
  [[nodiscard]] virtual Outcome<void> take_control(SessionClient& client, FrameType type,
                                                   std::span<const std::byte> body) = 0;
  [[nodiscard]] virtual size_t take_input(std::span<const std::byte> bytes) = 0;
  // What is told of it, with the lock held.
  virtual void fill_info() = 0;

  // --- what they do it with
  // The connection becomes the first client.
  void run(Child child, Wish first);
  // It never ran, and the connection was told: the session has ended and is collected.
  void note_failed_start(int code);
  void publish();
  [[nodiscard]] bool running() const { return !end_; }
  [[nodiscard]] bool any_blocked() const;
  [[nodiscard]] bool any_writer() const;
  void kill_after_ms(int64_t ms) { kill_at_ = Deadline::after_ms(ms); }

  const SessionRules& rules_;
  const ClientPace pace_;
  bool one_writer_ = true;
  uint32_t pen_ = 0;  // of the client that writes; each has another one
  const std::string id_;
  Child child_;
  Ring ring_;
  std::vector<SessionClient> clients_;
  std::optional<ProgramEnd> end_;

  Mutex mutex_;  // of info that fill_info() fills, and of what follows below

 private:
  class ClientSink;
  enum Slot : size_t {
    kWake,
    kEnd,
    kFirstOfProgram,
    kFirstClient = kFirstOfProgram + kProgramSlots
  };

  // The turns of serve().
  [[nodiscard]] bool serving();
  void wait_for_something();
  [[nodiscard]] bool has_room();
  [[nodiscard]] int timeout_ms() const;
  void take_wishes();
  void receive_from_clients();
  void send_to_clients();

  void admit(Wish wish);
  [[nodiscard]] Outcome<void> check_wish(const Wish& wish) const;
  [[nodiscard]] bool goes_on_writing(const Wish& wish) const;
  [[nodiscard]] bool pen_is_taken() const { return one_writer_ && running() && any_writer(); }
  void replace_writer();
  void take_pen();
  void drop(size_t index, Gone how);
  void note_end();
  void hurry_end();
  void wake() const;

  const base::Fd wake_;
  std::vector<pollfd> polls_;
  Deadline kill_at_ = Deadline::never();

  // Under mutex_.
  Condition changed_;
  std::vector<Wish> newcomers_;
  bool end_wanted_ = false;
  bool dismissed_ = false;
  bool collected_ = false;
  bool status_unwanted_ = false;
  bool served_ = true;
  bool ended_ = false;
  uint64_t end_number_ = 0;
  bool in_use_ = true;
};

// The connection is new and the reply small, so this does not block.
void refuse_client(base::Fd connection, const Failed& failure);
void send_not_started(base::Fd connection, const SpawnFailure& failure);
// A program's arguments in one line, for people.
[[nodiscard]] std::string command_line(const std::vector<std::string>& words);
// The number in a signal frame. Error: there is no such signal.
[[nodiscard]] Outcome<int> read_signal(std::span<const std::byte> body);

}  // namespace microvm::agent
