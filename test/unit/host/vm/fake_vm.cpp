#include "unit/host/vm/fake_vm.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/saved/vm_directory.hpp"
#include "host/session/agent_messages.hpp"
#include "host/session/frame_stream.hpp"
#include "host/vm/start_vm.hpp"
#include "host/worker/control_channel.hpp"
#include "state/kept_logs.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"

namespace microvm::test {

using host::Limits;
using wire::FrameType;

namespace {

constexpr uint64_t kMemory = 64ull << 20;

Limits in_time() {
  return Limits({}, std::chrono::seconds(20));
}

RuntimeOptions options_for(const std::filesystem::path& data_dir, uint32_t max_waiting_calls,
                           Told& told) {
  RuntimeOptions options;
  options.data_dir = data_dir;
  options.max_waiting_calls = max_waiting_calls;
  options.on_event = [&told](const VmEvent& event) { told.add(event); };
  return options;
}

}  // namespace

void Told::add(const VmEvent& event) {
  const std::scoped_lock lock(mutex_);
  events_.push_back(event);
}

std::vector<VmEvent> Told::of(VmEvent::Kind kind) const {
  const std::scoped_lock lock(mutex_);
  std::vector<VmEvent> found;
  for (const VmEvent& event : events_) {
    if (event.kind == kind) found.push_back(event);
  }
  return found;
}

bool Told::wait_for(VmEvent::Kind kind, size_t count) const {
  for (int i = 0; i < 2000 && of(kind).size() < count; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return of(kind).size() >= count;
}

FakeHost::FakeHost(const std::filesystem::path& data_dir, uint32_t max_waiting_calls) {
  auto opened = host::Core::open(options_for(data_dir, max_waiting_calls, told), host::Limits({}));
  REQUIRE(opened);
  core = std::move(*opened);
}

FakeHost::~FakeHost() {
  if (!core) return;
  core->end();
}

FakeVm::FakeVm(FakeHost& host, const Options& options) {
  auto directory = host::NewVmDirectory::create(host.core->store, {});
  REQUIRE(directory);
  record_.id = directory->id();
  record_.image = "app:1";
  record_.created = "2026-01-01T00:00:00Z";
  record_.memory_bytes = kMemory;
  record_.vcpus = 1;
  record_.dies_with_owner = options.dies_with_owner;
  record_.hostname = record_.id;
  record_.machine_id = std::string(32, 'a');
  record_.boot_id = "01234567-89ab-4cde-8f01-23456789abcd";
  record_.idle.auto_resume = options.auto_resume;
  record_.network.mode = options.network;
  config_.hooks = options.hooks;
  dir_ = directory->path();
  auto files = directory->make_files("disk-1.layer");
  REQUIRE(files);
  files_ = std::move(*files);
  keep_log();
  REQUIRE(directory->write_record(record_));
  REQUIRE(host::write_run(dir_, {.worker_pid = 0, .layers = {"disk-1.layer"}, .pages = {}}));
  directory->keep();
  wake_.reset(::eventfd(0, EFD_CLOEXEC));
  worker_ = std::jthread([this] { serve(); });
}

FakeVm::~FakeVm() {
  hang_up();
  worker_.join();
  const std::scoped_lock lock(mutex_);
  for (const auto& stream : agent_streams_) ::shutdown(stream->get(), SHUT_RDWR);
}

std::shared_ptr<Vm::Impl> FakeVm::attach(const FakeHost& host) const {
  return host::make_at_home<Vm::Impl>(host.core, record_, config_);
}

void FakeVm::write_exit(const wire::ExitEvent& how) {
  REQUIRE(host::write_exit(files_.exit_record.get(), how));
}

void FakeVm::tell_all(const wire::ExitEvent& how) {
  const std::scoped_lock lock(mutex_);
  for (const auto& [fd, socket] : connections_) {
    [[maybe_unused]] const auto sent = host::send_control(fd, {0, how}, {}, in_time(), "tell");
  }
}

void FakeVm::tell_network(const wire::NetworkEvent& event) {
  const std::scoped_lock lock(mutex_);
  for (const auto& [fd, socket] : connections_) {
    [[maybe_unused]] const auto sent = host::send_control(fd, {0, event}, {}, in_time(), "tell");
  }
}

void FakeVm::hang_up() {
  const uint64_t one = 1;
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
    followers_.clear();
    for (const auto& [fd, socket] : connections_) ::shutdown(fd, SHUT_RDWR);
    files_.exit_record.reset();
  }
  [[maybe_unused]] const auto raised = ::write(wake_.get(), &one, sizeof one);
}

void FakeVm::end(const wire::ExitEvent& how) {
  keep_log();
  write_exit(how);
  tell_all(how);
  hang_up();
}

void FakeVm::end_slowly(const wire::ExitEvent& how) {
  write_exit(how);
  tell_all(how);
}

void FakeVm::kill() {
  hang_up();
}

void FakeVm::revive() {
  worker_.join();
  auto lock = host::lock_vm(dir_);
  REQUIRE(lock);
  const std::string layer = "disk-" + std::to_string(*host::next_file_number(dir_)) + ".layer";
  auto files = host::make_worker_files(dir_, std::move(*lock), layer);
  REQUIRE(files);
  files_ = std::move(*files);
  REQUIRE(host::write_run(dir_, {.worker_pid = 0, .layers = {layer}, .pages = {}}));
  const auto logs = state::read_kept_logs(files_.kept_logs.get());
  REQUIRE((logs && *logs));
  log_.resize((*logs)->logs[1].end);
  life_begin_ = log_.size();
  ++life_;
  stopped_ = false;
  wake_.reset(::eventfd(0, EFD_CLOEXEC));
  worker_ = std::jthread([this] { serve(); });
}

// ---- the log -----------------------------------------------------------------------------------

void FakeVm::print(std::string_view text) {
  const std::scoped_lock lock(mutex_);
  log_ += text;
  for (const base::Fd& follower : followers_) {
    REQUIRE(::write(follower.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
}

void FakeVm::keep_log() {
  const std::scoped_lock lock(mutex_);
  state::KeptLogs logs{.turn = ++kept_turn_};
  logs.logs[1] = {.begin = 0, .end = log_.size(), .at = 0, .text_written_ns = 0};
  const auto place = state::kept_log_pieces(state::KeptLogIndex::app, 0, 1)[0].offset;
  REQUIRE(sys::pwrite_full(files_.kept_logs.get(), wire::as_bytes(log_), place));
  REQUIRE(sys::pwrite_full(files_.kept_logs.get(), state::encode_kept_logs(logs),
                           state::kept_logs_header_offset(logs.turn)));
}

void FakeVm::cut_followers() {
  const std::scoped_lock lock(mutex_);
  followers_.clear();
}

void FakeVm::open_log(int socket, const wire::Envelope& request) {
  const auto& asked = std::get<wire::LogsRequest>(request.message);
  const bool placed = asked.positions && !has_no_positions;
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  const base::Fd read_end(ends[0]);
  base::Fd write_end(ends[1]);
  const std::scoped_lock lock(mutex_);
  const uint64_t begin = placed ? std::min<uint64_t>(asked.from, log_.size()) : 0;
  const std::string_view text = std::string_view(log_).substr(begin);
  REQUIRE(::write(write_end.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  if (asked.follow && !stopped_) followers_.push_back(std::move(write_end));
  wire::Message reply = wire::OkReply{};
  if (placed) reply = wire::LogsReply{begin, life_begin_, life_};
  const int fd = read_end.get();
  [[maybe_unused]] const auto sent = host::send_control(
      socket, {request.request_id, std::move(reply)}, {&fd, 1}, in_time(), "answer");
}

// ---- the worker --------------------------------------------------------------------------------

void FakeVm::serve() {
  for (;;) {
    std::vector<pollfd> fds = {{wake_.get(), POLLIN, 0}, {files_.listener.get(), POLLIN, 0}};
    {
      const std::scoped_lock lock(mutex_);
      if (stopped_) break;
      for (const auto& [fd, socket] : connections_) fds.push_back({fd, POLLIN, 0});
    }
    ::poll(fds.data(), fds.size(), -1);
    if (fds[1].revents != 0) {
      auto client = sys::accept_unix(files_.listener.get());
      if (!client) continue;
      [[maybe_unused]] const auto set = sys::set_nonblocking(client->get());
      const std::scoped_lock lock(mutex_);
      const int fd = client->get();
      connections_.emplace(fd, std::move(*client));
    }
    for (size_t i = 2; i < fds.size(); ++i) {
      if (fds[i].revents != 0) serve_connection(fds[i].fd);
    }
  }
  const std::scoped_lock lock(mutex_);
  connections_.clear();
  files_.listener.reset();
}

void FakeVm::serve_connection(int socket) {
  auto received = host::try_receive_control(socket);
  if (received && received->state == host::Received::State::would_block) return;
  if (!received || received->state == host::Received::State::end) {
    const std::scoped_lock lock(mutex_);
    connections_.erase(socket);
    return;
  }
  answer(socket, received->envelope, std::move(received->fds));
}

void FakeVm::answer(int socket, const wire::Envelope& request, std::vector<base::Fd> fds) {
  const auto reply = [&](wire::Message message, std::vector<int> with = {}) {
    [[maybe_unused]] const auto sent = host::send_control(
        socket, {request.request_id, std::move(message)}, with, in_time(), "answer");
  };
  if (wire::is_greeting(request)) {
    return reply(wire::VersionsReply{wire::kOldestControlVersion, wire::kControlVersion});
  }
  if (std::holds_alternative<wire::ConnectRequest>(request.message)) {
    ++streams;
    const base::Fd end = open_stream();
    return reply(wire::OkReply{}, {end.get()});
  }
  if (std::holds_alternative<wire::CaptureRequest>(request.message)) {
    ++captures;
    take_state(fds);
    const bool is_later = writing != Writing::at_once;
    return reply(wire::CaptureReply{captured_bytes, 1, kMemory, is_later});
  }
  if (std::holds_alternative<wire::LogsRequest>(request.message)) {
    if (ignores_followers) return;
    if (!refuses_followers) return open_log(socket, request);
    return reply(wire::ErrorReply{static_cast<uint32_t>(ErrorCode::busy), "too many readers"});
  }
  if (std::holds_alternative<wire::WriteCaptureRequest>(request.message)) {
    if (writing == Writing::killed) return kill();
    return reply(wire::ErrorReply{static_cast<uint32_t>(ErrorCode::cancelled), "another capture"});
  }
  if (std::holds_alternative<wire::ResumeRequest>(request.message)) ++resumes;
  reply(wire::OkReply{});
  if (const auto* last = std::get_if<wire::TerminateRequest>(&request.message)) {
    using Reason = wire::ExitEvent::Reason;
    end({last->suspended ? Reason::suspended : Reason::terminated, {}, {}});
  }
}

// Of bytes that do not compress, so that packing them takes its time.
void FakeVm::take_state(const std::vector<base::Fd>& fds) const {
  REQUIRE(fds.size() == 3);
  REQUIRE(::ftruncate(fds[0].get(), kMemory) == 0);
  std::vector<std::byte> noise(captured_bytes);
  uint64_t x = 88172645463325252u;
  for (std::byte& byte : noise) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    byte = static_cast<std::byte>(x);
  }
  REQUIRE(sys::pwrite_full(fds[0].get(), noise, 0));
  REQUIRE(sys::pwrite_full(fds[1].get(), wire::as_bytes("state"), 0));
  REQUIRE(sys::pwrite_full(fds[2].get(), wire::as_bytes("layer"), 0));
}

base::Fd FakeVm::open_stream() {
  auto pair = sys::stream_pair();
  REQUIRE(pair);
  const std::scoped_lock lock(mutex_);
  auto stream = std::make_shared<base::Fd>(std::move(pair->second));
  agent_streams_.push_back(stream);
  agents_.emplace_back([this, stream] { be_agent(stream->get()); });
  return std::move(pair->first);
}

// ---- the agent ---------------------------------------------------------------------------------

void FakeVm::be_agent(int stream) {
  host::FrameReader reader;
  host::FrameWriter writer;
  const auto say = [&](FrameType type, wire::ByteView body = {}) {
    [[maybe_unused]] const auto sent = writer.write(stream, type, body, in_time(), "agent");
  };
  for (;;) {
    const auto frame = reader.read(stream, Limits({}), "agent");
    if (!frame || !*frame) return;
    while (agent_is_silent) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (agent_hangs_up) {
      ::shutdown(stream, SHUT_RDWR);
      return;
    }
    switch ((*frame)->type) {
      case FrameType::environment:  // the last of an exec
        say(FrameType::started);
        say(FrameType::exited);
        break;
      case FrameType::exec:
      case FrameType::arguments:
        break;
      case FrameType::activity:
        say(FrameType::activity_report);
        break;
      case FrameType::tcp_connect:
        if (refuse_errno != 0) {
          microvm_agent_Failure failure{};
          failure.error = refuse_errno;
          say(FrameType::failed, host::encode_message(failure));
          break;
        }
        say(FrameType::ok);
        return;  // raw bytes from here on, of which there are none
      default:
        say(FrameType::ok);
    }
  }
}

}  // namespace microvm::test
