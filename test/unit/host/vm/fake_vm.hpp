// A Vm of another process, as far as a Runtime can tell: a directory in the store, locked by a
// worker that listens there, and an agent behind it. All of them are threads of the test.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host/vm/core.hpp"
#include "host/vm/vm_impl.hpp"
#include "unit/host/temp_dir.hpp"

namespace microvm::test {

// What is told of Vms, in order.
class Told {
 public:
  void add(const VmEvent& event);
  [[nodiscard]] std::vector<VmEvent> of(VmEvent::Kind kind) const;
  // Waits for as many.
  [[nodiscard]] bool wait_for(VmEvent::Kind kind, size_t count) const;

 private:
  mutable std::mutex mutex_;
  std::vector<VmEvent> events_;
};

// A Runtime's inside, on a data directory that it may share with others.
struct FakeHost {
  explicit FakeHost(const std::filesystem::path& data_dir, uint32_t max_waiting_calls = 4096);
  ~FakeHost();
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  Told told;
  std::shared_ptr<host::Core> core;  // none: the Runtime was ended by the test
};

class FakeVm {
 public:
  struct Options {
    bool dies_with_owner = false;
    bool auto_resume = true;
    NetworkMode network = NetworkMode::none;
    Hooks hooks;
  };
  FakeVm(FakeHost& host, const Options& options);
  explicit FakeVm(FakeHost& host) : FakeVm(host, Options()) {}
  ~FakeVm();
  FakeVm(const FakeVm&) = delete;
  FakeVm& operator=(const FakeVm&) = delete;

  // A handle of a process that has attached to it; each is as if of its own.
  [[nodiscard]] std::shared_ptr<Vm::Impl> attach(const FakeHost& host) const;

  // That its network came or went, to everybody who talks with it.
  void tell_network(const wire::NetworkEvent& event);

  // The worker writes its record, tells everybody and is gone.
  void end(const wire::ExitEvent& how);
  // It is gone without a word.
  void kill();
  // Another worker, after its end: the next life of a Vm that was suspended or killed.
  void revive();
  // The guest prints into the log of the app; whoever follows has it at once.
  void print(std::string_view text);
  // What was printed is in the file; a worker does it a moment later, and this one at no other time
  // but its end.
  void keep_log();
  // It is gone, but a connection of it stays open (a log is followed): only the record says so.
  void end_slowly(const wire::ExitEvent& how);

  [[nodiscard]] const std::string& id() const { return record_.id; }
  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }

  // Of the worker: how often it was asked for a stream, a capture, to let the guest run.
  std::atomic<int> streams{0};
  std::atomic<int> captures{0};
  std::atomic<int> resumes{0};
  // While it is set the agent answers nothing.
  std::atomic<bool> agent_is_silent{false};
  // What the agent refuses each TCP connection with; 0: it does not.
  std::atomic<int> refuse_errno{0};
  // The agent hangs up instead of answering.
  std::atomic<bool> agent_hangs_up{false};
  // The worker knows of no positions in its logs, as an older one; set before anybody follows.
  std::atomic<bool> has_no_positions{false};
  // The worker does not answer who wants to follow a log, or has too many of them.
  std::atomic<bool> ignores_followers{false};
  std::atomic<bool> refuses_followers{false};
  // Followers are cut off, as those that are too slow.
  void cut_followers();
  // Data of the pages that a capture takes: how long it is packed.
  std::atomic<uint64_t> captured_bytes{64 * 1024};
  // What becomes of a capture that the worker is to write after its answer; by default it is
  // written at once.
  enum class Writing : uint8_t { at_once, refused, killed };
  std::atomic<Writing> writing{Writing::at_once};

 private:
  void serve();
  void serve_connection(int socket);
  void answer(int socket, const wire::Envelope& request, std::vector<base::Fd> fds);
  void open_log(int socket, const wire::Envelope& request);
  void take_state(const std::vector<base::Fd>& fds) const;
  base::Fd open_stream();
  void be_agent(int stream);
  void write_exit(const wire::ExitEvent& how);
  void tell_all(const wire::ExitEvent& how);
  void hang_up();

  host::VmRecord record_;
  ImageConfig config_;
  std::filesystem::path dir_;
  host::WorkerFiles files_;
  base::Fd wake_;
  std::mutex mutex_;
  bool stopped_ = false;
  std::map<int, base::Fd> connections_;
  std::vector<std::shared_ptr<base::Fd>> agent_streams_;
  std::vector<std::jthread> agents_;
  std::string log_;
  uint64_t life_begin_ = 0;
  uint64_t life_ = 1;
  uint64_t kept_turn_ = 0;
  std::vector<base::Fd> followers_;
  std::jthread worker_;
};

}  // namespace microvm::test
