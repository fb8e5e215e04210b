#include "vmm/control/worker.hpp"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "state/exit_record.hpp"
#include "sys/socket.hpp"

namespace microvm::vmm::control {
namespace {

using Reason = wire::ExitEvent::Reason;
using std::chrono::milliseconds;

constexpr size_t kMaxConnections = 64;
constexpr size_t kMaxDetailBytes = 1024;
constexpr size_t kMaxWaiting = 256;
// For peers and log readers to take what they have not read yet.
constexpr milliseconds kGoodbyeDeadline{1000};
constexpr milliseconds kAcceptPause{100};

// How many streams of the guest the limit on fds has room for, besides all else: the layers of the
// disks, vCPUs, doorbells, clients, log readers, the fds of a request, ends on their way to a
// client. A request whose fds do not fit ends the connection it came on.
size_t stream_limit() {
  constexpr rlim_t kOtherFds = 640;
  constexpr rlim_t kFewest = 64;
  rlimit fds{};
  if (::getrlimit(RLIMIT_NOFILE, &fds) != 0) return kFewest;
  const rlim_t left = fds.rlim_cur - std::min(fds.rlim_cur, kOtherFds);
  return std::clamp<rlim_t>(left, kFewest, VsockLimits().connections);
}

// The file system lets only the owner's user reach the socket; this holds if it was passed on.
bool is_same_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

void write_file(const base::Fd& file, wire::ByteView bytes) {
  if (!file) return;
  // It may hold more of an earlier life. Nobody is left to be told about a full disk: the record of
  // an ended Vm is then short.
  [[maybe_unused]] const int cut = ::ftruncate(file.get(), 0);
  [[maybe_unused]] const ssize_t put = ::pwrite(file.get(), bytes.data(), bytes.size(), 0);
}

}  // namespace

Worker::Worker(sys::Loop& loop, base::Fd owner, base::Fd owner_process)
    : loop_(loop),
      max_streams_(stream_limit()),
      owner_process_(std::move(owner_process)),
      kernel_log_(loop),
      app_log_(loop),
      log_keeper_(loop, kernel_log_, app_log_),
      app_streams_(loop, app_log_),
      clock_streams_(loop),
      agent_offer_(loop, [this] { return agent_taker(); }) {
  add_connection(kOwner, std::move(owner));
  if (!owner_process_) return;
  owner_watch_ = loop_.watch(owner_process_.get(), POLLIN, [this](uint32_t) { on_owner_died(); });
}

Worker::~Worker() = default;

void Worker::run() {
  loop_.run();
}

// ---- peers -------------------------------------------------------------------------------------

void Worker::add_connection(ConnectionId id, base::Fd socket) {
  connections_[id] = std::make_unique<Connection>(
      loop_, std::move(socket),
      Connection::Callbacks{.message =
                                [this, id](wire::Envelope envelope, std::vector<base::Fd> fds) {
                                  on_message(id, std::move(envelope), std::move(fds));
                                },
                            .closed = [this, id] { on_closed(id); }});
}

bool Worker::accept_client() {
  auto client = sys::accept_unix(listener_.get());
  if (!client) pause_accepting();
  if (!client || !client->valid()) return false;
  if (connections_.size() >= kMaxConnections || !is_same_user(client->get())) return true;
  if (!sys::set_nonblocking(client->get())) return true;
  add_connection(next_connection_++, std::move(*client));
  agent_offer_.offer();
  return true;
}

// A client that there is no fd for goes on waiting, and the listener to be readable.
void Worker::pause_accepting() {
  loop_.rearm(listener_watch_, 0);
  loop_.after(kAcceptPause, [this] { loop_.rearm(listener_watch_, POLLIN); });
}

void Worker::on_message(ConnectionId from, wire::Envelope envelope, std::vector<base::Fd> fds) {
  Request request{from, envelope.request_id, Clock::now(), std::move(fds)};
  if (!has_to_wait(envelope.message)) {
    answer(request, envelope.message);
    answer_waiting();
  } else if (waiting_.size() < kMaxWaiting) {
    waiting_.push_back({std::move(request), std::move(envelope.message)});
  } else {
    reply(from, request.id,
          base::fail(ErrorCode::busy, "too many requests wait for the change of the vm"));
  }
}

// What changes nothing, or ends everything, is answered at any time.
bool Worker::has_to_wait(const wire::Message& message) const {
  return busy_ && !end_requested_ && !std::holds_alternative<wire::InfoRequest>(message) &&
         !std::holds_alternative<wire::LogsRequest>(message) &&
         !std::holds_alternative<wire::TerminateRequest>(message);
}

void Worker::answer(Request& request, const wire::Message& message) {
  Outcome outcome = std::visit([&](const auto& asked) { return serve(request, asked); }, message);
  reply(request.from, request.id, std::move(outcome));
  end_if_requested();
  run_on_if_abandoned();
}

// In the order they came. Nothing is done for who is gone.
void Worker::answer_waiting() {
  while (!busy_ && !waiting_.empty()) {
    WaitingRequest next = std::move(waiting_.front());
    waiting_.pop_front();
    const auto asker = connections_.find(next.request.from);
    if (asker == connections_.end() || asker->second->peer_is_gone()) continue;
    answer(next.request, next.message);
  }
}

// Erased by the loop: the connection is still in use by its caller.
void Worker::on_closed(ConnectionId id) {
  loop_.post([this, id] {
    connections_.erase(id);
    run_on_if_abandoned();
  });
  if (id != kOwner) return;
  owner_is_there_ = false;
  if (dies_with_owner_) request_end({Reason::terminated, "the owner went away"});
}

void Worker::on_owner_died() {
  loop_.unwatch(owner_watch_);
  if (const auto owner = connections_.find(kOwner); owner != connections_.end()) {
    owner->second->close();
  }
}

void Worker::reply(ConnectionId to, uint32_t request_id, Outcome outcome) {
  const auto found = connections_.find(to);
  if (found == connections_.end()) return;
  if (!outcome) {
    const Error& error = outcome.error();
    found->second->send({request_id, wire::ErrorReply{static_cast<uint32_t>(error.code),
                                                      error.message.substr(0, kMaxDetailBytes)}});
  } else if (auto* answer = std::get_if<Answer>(&*outcome)) {
    found->second->send({request_id, std::move(answer->message)}, std::move(answer->fds));
  }
}

// The owner, or the client that has been there for the longest.
Connection* Worker::agent_taker() {
  for (const auto& [id, connection] : connections_) {
    if (!connection->closed()) return connection.get();
  }
  return nullptr;
}

void Worker::on_disk_error(int error) {
  report_disk_error(base::fail_errno("the host failed a disk of the guest", error).value());
}

void Worker::report_disk_error(const Error& error) {
  if (std::exchange(disk_error_reported_, true)) return;
  const wire::DiskErrorEvent event{static_cast<uint32_t>(error.code),
                                   error.message.substr(0, kMaxDetailBytes)};
  tell_all(event);
}

void Worker::tell_all(const wire::Message& event) {
  for (const auto& [id, connection] : connections_) connection->send({0, event});
}

// ---- the end -----------------------------------------------------------------------------------

void Worker::request_end(wire::ExitEvent event) {
  if (!end_requested_) end_requested_ = std::move(event);
  loop_.post([this] { end_if_requested(); });
}

void Worker::end_if_requested() {
  if (busy_ || !end_requested_) return;
  busy_ = true;
  finish(*end_requested_);
}

// The record before the event: whoever hears the event finds the record.
void Worker::finish(wire::ExitEvent event) {
  if (stage_ == Stage::started) {
    const bool by_itself = event.reason == Reason::power_off || event.reason == Reason::reset;
    const auto quiet = by_itself ? machine_->quiesce() : machine_->pause();
    // What the guest believes to be on its disk may then not be.
    if (by_itself && !quiet) report_disk_error(quiet.error());
    if (event.reason == Reason::panic) event.detail = panic_line();
  }
  event.detail.resize(std::min(event.detail.size(), kMaxDetailBytes));
  event.usage = usage();
  end_unwritten(base::fail(ErrorCode::vm_gone, "the vm has ended"));
  write_records(event);
  while (listener_ && accept_client()) {
    // Who connected in the last moment is told as well.
  }
  kernel_log_.close();
  app_log_.close();
  tell_all(event);
  const auto deadline = Clock::now() + kGoodbyeDeadline;
  const auto all_gone = [this] {
    return !kernel_log_.has_readers() && !app_log_.has_readers() &&
           std::ranges::all_of(connections_, [](const auto& c) { return c.second->all_sent(); });
  };
  while (!all_gone() && Clock::now() < deadline) loop_.run_once(milliseconds(20));
  if (net_link_) net_link_->let_go();
  loop_.stop();
}

wire::Usage Worker::usage() const {
  wire::Usage used;
  timespec cpu{};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
    used.cpu_us =
        static_cast<uint64_t>(cpu.tv_sec) * 1'000'000 + static_cast<uint64_t>(cpu.tv_nsec) / 1000;
  }
  if (stage_ == Stage::started) {
    used.exits = machine_->exits();
    used.lived_us = us_since(start_received_);
  }
  return used;
}

void Worker::write_records(const wire::ExitEvent& event) {
  write_file(kernel_log_file_, kernel_log_.ring().contents());
  write_file(app_log_file_, app_log_.ring().contents());
  log_keeper_.finish({kernel_log_file_.get(), app_log_file_.get()});
  write_file(exit_record_, state::encode_exit_record(event));
}

std::string Worker::panic_line() const {
  const wire::Bytes bytes = kernel_log_.ring().contents();
  const std::string_view text = wire::as_text(bytes);
  const size_t begin = text.rfind(kPanicText);
  if (begin == std::string_view::npos) return {};
  const std::string_view line = text.substr(begin);
  return std::string(line.substr(0, line.find_first_of("\r\n")));
}

}  // namespace microvm::vmm::control
