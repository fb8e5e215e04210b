#include "worker_client.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>

#include "sys/socket.hpp"

namespace microvm::vmm::test {
namespace {

constexpr milliseconds kReplyDeadline{20'000};

sockaddr_un abstract_address(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  return address;
}

socklen_t address_size(const std::string& name) {
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

base::Fd listen_abstract(const std::string& name) {
  base::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto address = abstract_address(name);
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), address_size(name)) == 0);
  REQUIRE(::listen(fd.get(), 16) == 0);
  return fd;
}

const char* worker_path() {
  const char* path = ::getenv("MICROVM_VMM");
  return path != nullptr ? path : MICROVM_VMM_PATH;
}

struct Started {
  pid_t pid;
  base::Fd socket;
};

Started start_worker(const std::string& path, bool plain_io) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  base::Fd ours(ends[0]);
  base::Fd theirs(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // Not 3 itself: dup2 onto the same number would leave close-on-exec set.
  base::Fd moved(::fcntl(theirs.get(), F_DUPFD_CLOEXEC, 100));
  posix_spawn_file_actions_adddup2(&actions, moved.get(), wire::kWorkerControlFd);
  std::vector<char*> argv = {const_cast<char*>("microvm-vmm")};
  if (plain_io) argv.push_back(const_cast<char*>("--plain-io"));
  argv.push_back(nullptr);
  char* environment[] = {nullptr};
  pid_t pid = -1;
  const int err = posix_spawn(&pid, path.c_str(), &actions, nullptr, argv.data(), environment);
  posix_spawn_file_actions_destroy(&actions);
  REQUIRE_MESSAGE(err == 0, path);
  return {pid, std::move(ours)};
}

}  // namespace

// ---- client ------------------------------------------------------------------------------------

void ControlClient::send(const wire::Message& message, const std::vector<int>& fds) {
  REQUIRE(sys::send_message(socket_.get(), *wire::encode({next_id_, message}), fds));
}

void ControlClient::send_bytes(wire::ByteView bytes, const std::vector<int>& fds) {
  REQUIRE(sys::send_message(socket_.get(), bytes, fds));
}

wire::Message ControlClient::call_bytes(wire::ByteView bytes) {
  send_bytes(bytes);
  uint32_t id = 0;
  return receive(id).message;
}

ControlClient::Raw ControlClient::receive_bytes() {
  pollfd ready{socket_.get(), POLLIN, 0};
  REQUIRE(::poll(&ready, 1, static_cast<int>(kReplyDeadline.count())) == 1);
  auto received = sys::receive_message(socket_.get());
  REQUIRE_MESSAGE(received, "the worker is gone");
  return {std::move(received->bytes), std::move(received->fds)};
}

ControlClient::Reply ControlClient::receive(uint32_t& request_id) {
  Raw received = receive_bytes();
  auto envelope = wire::decode(received.bytes);
  REQUIRE(envelope);
  request_id = envelope->request_id;
  return {std::move(envelope->message), std::move(received.fds)};
}

ControlClient::Reply ControlClient::call(const wire::Message& message,
                                         const std::vector<int>& fds) {
  send(message, fds);
  return reply();
}

ControlClient::Reply ControlClient::reply() {
  for (;;) {
    uint32_t id = 0;
    Reply reply = receive(id);
    if (id == next_id_) {
      ++next_id_;
      return reply;
    }
    events_.push_back(std::move(reply));
  }
}

ControlClient::Reply ControlClient::next_event() {
  if (events_.empty()) {
    uint32_t id = 0;
    events_.push_back(receive(id));
    REQUIRE(id == 0);
  }
  Reply event = std::move(events_.front());
  events_.pop_front();
  return event;
}

bool ControlClient::has_message() const {
  pollfd ready{socket_.get(), POLLIN, 0};
  return ::poll(&ready, 1, 0) == 1;
}

bool ControlClient::closed_within(milliseconds limit) {
  pollfd ready{socket_.get(), POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(limit.count())) != 1) return false;
  return !sys::receive_message(socket_.get());
}

void ControlClient::fail_unexpected(const wire::Message& message) {
  const auto* error = std::get_if<wire::ErrorReply>(&message);
  const std::string text = error != nullptr ? error->message : "another kind of reply";
  REQUIRE_MESSAGE(false, text);
}

// ---- worker ------------------------------------------------------------------------------------

WorkerProcess::WorkerProcess(bool plain_io) : WorkerProcess(worker_path(), plain_io) {}

WorkerProcess::WorkerProcess(const std::string& program) : WorkerProcess(program, false) {}

WorkerProcess::WorkerProcess(const std::string& program, bool plain_io) : owner_(base::Fd()) {
  Started started = start_worker(program, plain_io);
  pid_ = started.pid;
  owner_ = ControlClient(std::move(started.socket));
  files_.socket_name = "microvm-test-" + std::to_string(::getpid()) + "-" + std::to_string(pid_);
  files_.listener = listen_abstract(files_.socket_name);
  files_.exit_record = memory_file();
  files_.kernel_log = memory_file();
  files_.app_log = memory_file();
}

WorkerProcess::~WorkerProcess() {
  kill();
}

void WorkerProcess::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  wait_exit();
}

std::optional<int> WorkerProcess::wait_exit(milliseconds limit) {
  const base::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  pollfd ended{process.get(), POLLIN, 0};
  if (!process || ::poll(&ended, 1, static_cast<int>(limit.count())) != 1) return std::nullopt;
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) return std::nullopt;
  pid_ = -1;
  return status;
}

ControlClient WorkerProcess::connect() const {
  base::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const auto address = abstract_address(files_.socket_name);
  REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                    address_size(files_.socket_name)) == 0);
  return ControlClient(std::move(fd));
}

void WorkerProcess::shape(const TinyShape& shape) {
  const auto kvm = open_kvm();
  std::vector<int> fds{kvm.get()};
  base::Fd program;
  sys::SocketPair homes;
  if (shape.nets > 0) {
    program.reset(::open(net_program.c_str(), O_RDONLY | O_CLOEXEC));
    homes = std::move(*sys::seqpacket_pair());
    fds.insert(fds.end(), {program.get(), homes.second.get()});
  }
  owner_.call_for<wire::OkReply>(wire::ShapeRequest{shape.full()}, fds);
  home = std::move(homes.first);
}

wire::VmFds<int> WorkerProcess::vm_fds(const Disks& disks) const {
  return {.listener = files_.listener.get(),
          .exit_record = files_.exit_record.get(),
          .kernel_log = files_.kernel_log.get(),
          .app_log = files_.app_log.get(),
          .disks = disks,
          .leases = {},
          .kept_logs = files_.kept_logs ? std::optional(files_.kept_logs.get()) : std::nullopt};
}

void WorkerProcess::keep_logs() {
  files_.kept_logs = memory_file();
}

namespace {

std::vector<wire::DiskSpec> specs_of(const WorkerProcess::Disks& disks) {
  std::vector<wire::DiskSpec> specs(disks.size());
  for (size_t i = 0; i < disks.size(); ++i) specs[i].read_only = disks[i].size() == 1;
  return specs;
}

}  // namespace

wire::Message WorkerProcess::boot(const Code& guest, bool dies_with_owner, const Disks& disks) {
  const auto kernel = guest.elf();
  const auto initramfs = memory_file("nothing a tiny guest would look at");
  wire::BootRequest request{.cmdline = "quiet",
                            .attachment = {"tiny", dies_with_owner},
                            .disks = specs_of(disks),
                            .network = network};
  const auto fds = wire::pack({kernel.get(), initramfs.get(), vm_fds(disks)}, request);
  return owner_.call(request, fds).message;
}

wire::Message WorkerProcess::restore(int memory_fd, int state_fd, bool dies_with_owner,
                                     const Disks& disks, const std::vector<int>& overlays) {
  wire::RestoreRequest request{
      .attachment = {"clone", dies_with_owner}, .disks = specs_of(disks), .network = network};
  const auto fds = wire::pack({memory_fd, state_fd, vm_fds(disks), overlays, {}}, request);
  return owner_.call(request, fds).message;
}

wire::Message WorkerProcess::restore_with_working_set(int memory_fd, int state_fd,
                                                      int working_set_fd) {
  wire::RestoreRequest request{.attachment = {"clone", true}, .disks = {}, .network = network};
  const auto fds = wire::pack({memory_fd, state_fd, vm_fds({}), {}, working_set_fd}, request);
  return owner_.call(request, fds).message;
}

void WorkerProcess::send_restore(int memory_fd, int state_fd, const std::vector<int>& overlays,
                                 bool dies_with_owner) {
  wire::RestoreRequest request{
      .attachment = {"clone", dies_with_owner}, .disks = {}, .network = network};
  const auto fds = wire::pack({memory_fd, state_fd, vm_fds({}), overlays, {}}, request);
  owner_.send(request, fds);
}

void WorkerProcess::run(const Code& guest, const TinyShape& with, bool dies_with_owner) {
  shape(with);
  const auto reply = boot(guest, dies_with_owner);
  const auto* error = std::get_if<wire::ErrorReply>(&reply);
  const std::string text = error != nullptr ? error->message : "";
  REQUIRE_MESSAGE(error == nullptr, text);
}

base::Fd WorkerProcess::open_kernel_log(bool follow) {
  auto reply = owner_.call(wire::LogsRequest{wire::LogsRequest::Which::kernel, follow});
  REQUIRE(reply.fds.size() == 1);
  return std::move(reply.fds[0]);
}

std::string WorkerProcess::kernel_log(size_t at_least) {
  if (at_least > 0) wait_printed(at_least);
  const base::Fd log = open_kernel_log(false);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::read(log.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  REQUIRE(text.size() >= at_least);
  return text;
}

void WorkerProcess::wait_printed(size_t bytes) {
  const base::Fd log = open_kernel_log(true);
  char buffer[4096];
  for (size_t printed = 0; printed < bytes;) {
    pollfd more{log.get(), POLLIN, 0};
    REQUIRE(::poll(&more, 1, static_cast<int>(kReplyDeadline.count())) == 1);
    const ssize_t got = ::read(log.get(), buffer, sizeof buffer);
    REQUIRE(got > 0);
    printed += static_cast<size_t>(got);
  }
}

size_t WorkerProcess::open_files() const {
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid_) + "/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

void WorkerProcess::check_stands_still() {
  const auto ask = [this] { return owner_.call_for<wire::InfoReply>(wire::InfoRequest{}); };
  const auto before = ask();
  const size_t printed = kernel_log().size();
  for (int round = 0; round < 50; ++round) ask();
  CHECK(before.paused);
  CHECK(ask().paused);
  CHECK(ask().exits == before.exits);
  CHECK(kernel_log().size() == printed);
}

// ---- files -------------------------------------------------------------------------------------

base::Fd open_kvm() {
  base::Fd fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  REQUIRE_MESSAGE(fd.valid(), "/dev/kvm does not open");
  return fd;
}

base::Fd memory_file(std::string_view content) {
  base::Fd fd(::memfd_create("file", MFD_CLOEXEC));
  REQUIRE(::pwrite(fd.get(), content.data(), content.size(), 0) ==
          static_cast<ssize_t>(content.size()));
  return fd;
}

std::string read_file(int fd) {
  struct stat info{};
  REQUIRE(::fstat(fd, &info) == 0);
  std::string content(static_cast<size_t>(info.st_size), '\0');
  REQUIRE(::pread(fd, content.data(), content.size(), 0) == info.st_size);
  return content;
}

ErrorCode error_code(const wire::Message& message) {
  const auto* error = std::get_if<wire::ErrorReply>(&message);
  return error != nullptr ? static_cast<ErrorCode>(error->code) : ErrorCode{};
}

}  // namespace microvm::vmm::test
