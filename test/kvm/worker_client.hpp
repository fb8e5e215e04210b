// The worker program as a process, and the embedder's side of its control wire.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "tiny_guest.hpp"
#include "wire/control.hpp"
#include "wire/start_fds.hpp"

namespace microvm::vmm::test {

using std::chrono::milliseconds;

// One connection to a worker.
class ControlClient {
 public:
  explicit ControlClient(base::Fd socket) : socket_(std::move(socket)) {}

  struct Reply {
    wire::Message message;
    std::vector<base::Fd> fds;
  };
  void send(const wire::Message& message, const std::vector<int>& fds = {});
  void send_bytes(wire::ByteView bytes, const std::vector<int>& fds = {});
  // The next message as it is. Fails the test after 20 s.
  struct Raw {
    wire::Bytes bytes;
    std::vector<base::Fd> fds;
  };
  Raw receive_bytes();
  // The next message after these bytes, whatever its id.
  wire::Message call_bytes(wire::ByteView bytes);
  // To the last request. Events that come first are kept. Fails the test after 20 s.
  Reply reply();
  Reply call(const wire::Message& message, const std::vector<int>& fds = {});
  // The same when the reply has to be of this type.
  template <class Expected>
  Expected call_for(const wire::Message& message, const std::vector<int>& fds = {}) {
    Reply reply = call(message, fds);
    if (auto* expected = std::get_if<Expected>(&reply.message)) return *expected;
    fail_unexpected(reply.message);
    return {};
  }
  // The next event of this kind.
  template <class Event>
  Event wait_for() {
    for (;;) {
      Reply event = next_event();
      if (auto* found = std::get_if<Event>(&event.message)) return *found;
    }
  }
  Reply next_event();
  // Whether a message is there, or the end.
  [[nodiscard]] bool has_message() const;
  // True when the worker closed the connection within the time.
  bool closed_within(milliseconds limit);
  void close() { socket_.reset(); }
  [[nodiscard]] base::Fd take_socket() { return std::move(socket_); }

 private:
  Reply receive(uint32_t& request_id);
  static void fail_unexpected(const wire::Message& message);

  base::Fd socket_;
  uint32_t next_id_ = 1;
  std::deque<Reply> events_;
};

struct TinyShape {
  uint64_t memory_bytes = 16 << 20;
  uint16_t vcpus = 1;
  uint16_t disks = 0;
  uint64_t peak_memory_bytes = 0;
  uint16_t peak_vcpus = 0;
  wire::TransportKind transport = wire::TransportKind::mmio;
  uint16_t nets = 0;

  [[nodiscard]] wire::Shape full() const {
    return {.memory_bytes = memory_bytes,
            .peak_memory_bytes = peak_memory_bytes,
            .vcpus = vcpus,
            .peak_vcpus = peak_vcpus,
            .disks = disks,
            .nets = nets,
            .transport = transport};
  }
};

// The files that every started Vm gets.
struct VmFilesOfTest {
  base::Fd listener;
  base::Fd exit_record;
  base::Fd kernel_log;
  base::Fd app_log;
  base::Fd kept_logs;       // none: it is given none
  std::string socket_name;  // abstract address of the listener
};

class WorkerProcess {
 public:
  // With --plain-io or not: what the test asks for.
  explicit WorkerProcess(bool plain_io = false);
  // Another worker program.
  explicit WorkerProcess(const std::string& program);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  [[nodiscard]] ControlClient& owner() { return owner_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const VmFilesOfTest& files() const { return files_; }
  // A further client, over the listening socket.
  [[nodiscard]] ControlClient connect() const;

  void shape(const TinyShape& shape = {});
  // What the starts from now on ask for.
  wire::NetworkKind network = wire::NetworkKind::none;
  // Of a shape with a network: what is run as microvm-net, and the other end of its home socket.
  std::string net_program = "/proc/self/exe";
  base::Fd home;
  // A disk: its layers, base first, the last of them writable. One of a base alone is read-only.
  using Disks = std::vector<std::vector<int>>;
  wire::Message boot(const Code& guest, bool dies_with_owner = true, const Disks& disks = {});
  wire::Message restore(int memory_fd, int state_fd, bool dies_with_owner = true,
                        const Disks& disks = {}, const std::vector<int>& overlays = {});
  wire::Message restore_with_working_set(int memory_fd, int state_fd, int working_set_fd);
  // The request alone; whoever calls this does not ask for the reply.
  void send_restore(int memory_fd, int state_fd, const std::vector<int>& overlays = {},
                    bool dies_with_owner = true);
  // Boots and fails the test when that fails.
  void run(const Code& guest, const TinyShape& shape = {}, bool dies_with_owner = true);

  // As the library has it.
  void keep_logs();
  // A Vm's files go from one of its workers to the next.
  void use_files(VmFilesOfTest files) { files_ = std::move(files); }
  [[nodiscard]] VmFilesOfTest take_files() { return std::move(files_); }

  // What the guest prints from now on, and did before; also of one that is not started yet.
  [[nodiscard]] base::Fd follow_kernel_log() { return open_kernel_log(true); }
  // What the guest printed so far, and with a least length: waits until it has printed that much.
  std::string kernel_log(size_t at_least = 0);
  // The exit status as waitpid() gives it; empty when it still runs after the limit.
  std::optional<int> wait_exit(milliseconds limit = milliseconds(10'000));
  void kill();

  // How many files it has open now.
  [[nodiscard]] size_t open_files() const;
  // Its guest does nothing, while the worker answers.
  void check_stands_still();

 private:
  WorkerProcess(const std::string& program, bool plain_io);
  [[nodiscard]] wire::VmFds<int> vm_fds(const Disks& disks) const;
  base::Fd open_kernel_log(bool follow);
  void wait_printed(size_t bytes);

  pid_t pid_ = -1;
  ControlClient owner_;
  VmFilesOfTest files_;
};

[[nodiscard]] base::Fd open_kvm();
[[nodiscard]] base::Fd memory_file(std::string_view content = {});
[[nodiscard]] std::string read_file(int fd);
[[nodiscard]] ErrorCode error_code(const wire::Message& message);

}  // namespace microvm::vmm::test
