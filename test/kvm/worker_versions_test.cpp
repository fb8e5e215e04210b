// A library meets a worker of another version: today's library and the worker program of version 1
// of the control wire, and what a library of version 1 says and today's worker.
#include <doctest/doctest.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>

#include "captured.hpp"
#include "golden/recorded_messages.hpp"
#include "host/worker/control_client.hpp"
#include "host/worker/read_stream.hpp"
#include "state/exit_record.hpp"
#include "sys/process.hpp"
#include "sys/socket.hpp"

using namespace microvm;
using namespace microvm::vmm::test;
using host::Limits;
using Reason = wire::ExitEvent::Reason;

namespace {

base::Fd disk_base() {
  return read_only(memory_file(std::string(1 << 20, 'b')).get());
}

base::Fd old_worker_program() {
  std::ifstream file(std::string(MICROVM_GOLDEN_PATH) + "/worker-v1/microvm-vmm.zst",
                     std::ios::binary);
  const std::string packed(std::istreambuf_iterator<char>(file), {});
  const auto size = ZSTD_getFrameContentSize(packed.data(), packed.size());
  REQUIRE(size < 16u << 20);
  wire::Bytes program(size);
  REQUIRE(ZSTD_decompress(program.data(), size, packed.data(), packed.size()) == size);
  auto executable = sys::executable_from_bytes("old-microvm-vmm", program);
  REQUIRE(executable);
  return std::move(*executable);
}

std::string path_of(const base::Fd& fd) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd.get());
}

Limits limits() {
  return Limits({}, std::chrono::seconds(20));
}

// Today's library, attached to a running worker.
class Library {
 public:
  explicit Library(const WorkerProcess& worker) {
    base::Fd socket = worker.connect().take_socket();
    REQUIRE(sys::set_nonblocking(socket.get()));
    client_ = host::ControlClient::start(*reactor_, std::move(socket), {});
  }
  ~Library() { client_->close(); }

  host::ControlClient& client() { return *client_; }
  Result<host::ControlClient::Reply> call(wire::Message request, std::vector<int> fds = {}) {
    return client_->call(std::move(request), fds, limits(), "ask");
  }
  template <class Reply>
  Reply call_for(wire::Message request, std::vector<int> fds = {}) {
    const auto reply = call(std::move(request), std::move(fds));
    const std::string error = reply ? "" : reply.error().message;
    REQUIRE_MESSAGE(reply, error);
    REQUIRE(std::holds_alternative<Reply>(reply->message));
    return std::get<Reply>(reply->message);
  }
  bool is_paused() { return call_for<wire::InfoReply>(wire::InfoRequest{}).paused; }
  // Of a guest that prints.
  std::string kernel_log() {
    const wire::LogsRequest follow{.follow = true};
    auto stream = client_->call_for_stream(follow, limits(), "read the log");
    REQUIRE(stream);
    return host::read_stream(stream->get(), 10, limits(), "read the log").value_or("");
  }

 private:
  std::unique_ptr<host::Reactor> reactor_ = std::move(*host::Reactor::create());
  std::shared_ptr<host::ControlClient> client_;
};

// What a library of version 1 does: sends bytes as it made them, and takes none but of its version.
class OldLibrary {
 public:
  explicit OldLibrary(ControlClient& connection) : connection_(connection) {}

  ControlClient::Reply call(const std::string& name, const std::vector<int>& fds = {}) {
    const wire::Bytes& bytes = recorded_.at(name);
    connection_.send_bytes(bytes, fds);
    for (;;) {
      auto reply = connection_.receive_bytes();
      const auto said = wire::decode(reply.bytes);
      REQUIRE(said);
      CHECK(said->version == 1);
      if (said->request_id == 0) continue;
      CHECK(said->request_id == wire::read_header(bytes)->request_id);
      return {said->message, std::move(reply.fds)};
    }
  }
  template <class Reply>
  Reply call_for(const std::string& name, const std::vector<int>& fds = {}) {
    auto reply = call(name, fds);
    const auto* error = std::get_if<wire::ErrorReply>(&reply.message);
    const std::string text = error != nullptr ? error->message : "";
    REQUIRE_MESSAGE(std::holds_alternative<Reply>(reply.message), text);
    return std::get<Reply>(reply.message);
  }
  // The bytes of the end of the Vm, after what comes before it.
  wire::Bytes exit_event() {
    for (;;) {
      auto event = connection_.receive_bytes().bytes;
      const auto said = wire::decode(event);
      REQUIRE(said);
      if (std::holds_alternative<wire::ExitEvent>(said->message)) return event;
    }
  }

 private:
  ControlClient& connection_;
  std::map<std::string, wire::Bytes> recorded_ = microvm::test::recorded_messages();
};

// As a library of version 1 starts one: with a disk, and a life of its own.
void start_old_way(WorkerProcess& worker, const Code& guest, const std::vector<int>& layers) {
  OldLibrary owner(worker.owner());
  const auto kvm = open_kvm();
  owner.call_for<wire::OkReply>("shape_disk", {kvm.get()});
  const auto kernel = guest.elf();
  const auto initramfs = memory_file("nothing");
  std::vector<int> fds = {kernel.get(), initramfs.get()};
  const auto& files = worker.files();
  for (const auto* file :
       {&files.listener, &files.exit_record, &files.kernel_log, &files.app_log}) {
    fds.push_back(file->get());
  }
  fds.insert(fds.end(), layers.begin(), layers.end());
  owner.call_for<wire::OkReply>("boot_disk", fds);
}

}  // namespace

TEST_CASE("worker versions: today's library gives a worker of version 1 full service") {
  const auto program = old_worker_program();
  WorkerProcess worker(path_of(program));
  const auto base = disk_base();
  const auto layer = memory_file();
  start_old_way(worker, counting_guest(), {base.get(), layer.get()});

  Library library(worker);
  const auto info = library.call_for<wire::InfoReply>(wire::InfoRequest{});
  CHECK(info.worker_pid == static_cast<uint32_t>(worker.pid()));
  CHECK(info.memory_bytes == 16u << 20);
  CHECK_FALSE(info.paused);
  library.call_for<wire::OkReply>(wire::PauseRequest{});
  CHECK(library.is_paused());
  library.call_for<wire::OkReply>(wire::ResumeRequest{});
  CHECK_FALSE(library.is_paused());

  const auto pages = memory_file();
  const auto state = memory_file();
  const auto top = memory_file();
  const auto captured = library.call_for<wire::CaptureReply>(wire::CaptureRequest{.run_on = false},
                                                             {pages.get(), state.get(), top.get()});
  CHECK(captured.page_bytes > 0);
  CHECK(library.is_paused());
  library.call_for<wire::OkReply>(wire::ResumeRequest{.drop_layers = true});
  CHECK(read_file(top.get()).empty());
  CHECK(library.kernel_log().starts_with("!\"#"));

  // What it has no words for is not said to it; another answer of its own is passed on.
  const auto unknown = library.call(wire::VersionsReply{1, 2});
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code == ErrorCode::unsupported);
  CHECK(unknown.error().message ==
        "ask: version 1 of the control wire has no such message: suspend and resume the microvm "
        "for a newer worker");
  CHECK(library.call(wire::ConnectRequest{1025}).error().code == ErrorCode::connection_refused);

  Library second(worker);
  CHECK_FALSE(second.is_paused());
  library.call_for<wire::OkReply>(wire::TerminateRequest{});
  REQUIRE(second.client().wait_ended(limits(), "wait"));
  CHECK(second.client().exit_event()->reason == Reason::terminated);
  CHECK(worker.wait_exit() == 0);
  const std::string record = read_file(worker.files().exit_record.get());
  const auto exit = state::decode_exit_record(wire::as_bytes(record));
  REQUIRE(exit);
  CHECK(exit->reason == Reason::terminated);

  // Today's worker goes on where it was.
  WorkerProcess clone;
  clone.shape({.disks = 1});
  const auto zeros = zero_memory();
  const auto next = memory_file();
  const auto sealed = read_only(layer.get());
  CHECK(error_code(clone.restore(zeros.get(), state.get(), true,
                                 {{base.get(), sealed.get(), next.get()}}, {pages.get()})) ==
        ErrorCode{});
  CHECK_FALSE(clone.kernel_log(20).empty());
}

// The version 1 worker ends the connection of who greets in any other way, and with it its Vm.
TEST_CASE("worker versions: an owner that asks a worker of version 1 what it speaks keeps it") {
  const auto program = old_worker_program();
  WorkerProcess worker(path_of(program));
  const auto greeting = wire::encode(wire::greeting());
  worker.owner().send_bytes(*greeting);
  const auto answer = wire::decode(worker.owner().receive_bytes().bytes);
  REQUIRE(answer);
  CHECK(answer->version == 1);
  CHECK(answer->request_id == wire::kGreetingId);
  CHECK(error_code(answer->message) == ErrorCode::busy);
  CHECK_FALSE(worker.wait_exit(milliseconds(50)));
}

TEST_CASE("worker versions: today's worker gives a library of version 1 full service") {
  WorkerProcess worker;
  const auto base = disk_base();
  const auto layer = memory_file();
  start_old_way(worker, counting_guest(), {base.get(), layer.get()});

  ControlClient connection = worker.connect();
  OldLibrary library(connection);
  const auto info = library.call_for<wire::InfoReply>("info");
  CHECK(info.worker_pid == static_cast<uint32_t>(worker.pid()));
  CHECK_FALSE(info.paused);
  worker.kernel_log(10);
  library.call_for<wire::OkReply>("pause");
  CHECK(library.call_for<wire::InfoReply>("info").paused);
  library.call_for<wire::OkReply>("resume");
  CHECK(error_code(library.call("connect").message) == ErrorCode::connection_refused);
  CHECK(error_code(library.call("snapshot").message) == ErrorCode::invalid_argument);
  CHECK(error_code(library.call("shape").message) == ErrorCode::busy);
  const auto logs = library.call("logs_kernel");
  REQUIRE(logs.fds.size() == 1);
  CHECK(host::read_stream(logs.fds[0].get(), 1 << 20, limits(), "read")->starts_with("!\"#"));

  const auto pages = memory_file();
  const auto state = memory_file();
  const auto top = memory_file();
  const auto captured =
      library.call_for<wire::CaptureReply>("capture", {pages.get(), state.get(), top.get()});
  CHECK(captured.page_bytes > 0);
  CHECK(library.call_for<wire::InfoReply>("info").paused);
  library.call_for<wire::OkReply>("terminate");
  CHECK(library.exit_event() == microvm::test::recorded_messages().at("exit_suspended"));
  CHECK(worker.wait_exit() == 0);

  WorkerProcess next;
  OldLibrary owner(next.owner());
  const auto kvm = open_kvm();
  owner.call_for<wire::OkReply>("shape_disk", {kvm.get()});
  const auto zeros = zero_memory();
  const auto sealed = read_only(layer.get());
  const auto& files = next.files();
  owner.call_for<wire::OkReply>(
      "restore_disk", {zeros.get(), state.get(), files.listener.get(), files.exit_record.get(),
                       files.kernel_log.get(), files.app_log.get(), pages.get(), base.get(),
                       sealed.get(), top.get()});
  CHECK_FALSE(owner.call_for<wire::InfoReply>("info").paused);
}

TEST_CASE("worker versions: both versions are spoken to one worker at once") {
  WorkerProcess worker;
  const auto base = disk_base();
  const auto layer = memory_file();
  start_old_way(worker, counting_guest(), {base.get(), layer.get()});
  ControlClient connection = worker.connect();
  OldLibrary old_library(connection);
  Library library(worker);
  for (int round = 0; round < 3; ++round) {
    old_library.call_for<wire::OkReply>("pause");
    CHECK(library.is_paused());
    library.call_for<wire::OkReply>(wire::ResumeRequest{});
    CHECK_FALSE(old_library.call_for<wire::InfoReply>("info").paused);
  }
  old_library.call_for<wire::OkReply>("terminate");
  REQUIRE(library.client().wait_ended(limits(), "wait"));
  CHECK(library.client().exit_event()->reason == Reason::suspended);
}
