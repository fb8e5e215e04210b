// The worker: serves the control wire for one machine, from an empty process to the end of the Vm.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "vmm/control/agent_offer.hpp"
#include "vmm/control/app_streams.hpp"
#include "vmm/control/clock_streams.hpp"
#include "vmm/control/connection.hpp"
#include "vmm/control/log.hpp"
#include "vmm/control/log_keeper.hpp"
#include "vmm/control/net_link.hpp"
#include "vmm/disk/disk_stack.hpp"
#include "vmm/machine/machine.hpp"
#include "vmm/virtio/vsock/vsock.hpp"
#include "wire/control.hpp"
#include "wire/start_fds.hpp"

namespace microvm::vmm::control {

class Worker {
 public:
  // `owner`: the worker's end of the socket pair it was started with. `owner_process`: its pidfd,
  // if there is one, for an owner that dies while a child it has forked still has the other end.
  Worker(sys::Loop& loop, base::Fd owner, base::Fd owner_process = {});
  ~Worker();

  // Until the machine has ended and everybody was told, or the owner left before there was one.
  void run();

 private:
  using Clock = std::chrono::steady_clock;
  using ConnectionId = uint64_t;
  static constexpr ConnectionId kOwner = 0;

  // failed: a boot or restore went wrong halfway; the worker can only be ended.
  enum class Stage { empty, shaped, failed, started };

  // What a request is answered with. No answer: it comes later, by reply().
  struct Answer {
    wire::Message message;
    std::vector<base::Fd> fds;
  };
  struct Later {};
  using Outcome = Result<std::variant<Answer, Later>>;
  struct Request {
    ConnectionId from = kOwner;
    uint32_t id = 0;
    Clock::time_point received;
    std::vector<base::Fd> fds;
  };
  struct WaitingRequest {
    Request request;
    wire::Message message;
  };
  struct UnwrittenCapture;
  [[nodiscard]] static uint64_t us_since(Clock::time_point start);
  // A request that runs the loop inside keeps others waiting that change the machine, and its end
  // from coming, until it is through.
  class BusyMark {
   public:
    explicit BusyMark(bool& busy) : busy_(busy) { busy_ = true; }
    ~BusyMark() { busy_ = false; }
    BusyMark(const BusyMark&) = delete;
    BusyMark& operator=(const BusyMark&) = delete;

   private:
    bool& busy_;
  };

  // worker.cpp: peers
  void add_connection(ConnectionId id, base::Fd socket);
  bool accept_client();  // false: nobody waits, or nobody can be taken
  void pause_accepting();
  void on_message(ConnectionId from, wire::Envelope envelope, std::vector<base::Fd> fds);
  [[nodiscard]] bool has_to_wait(const wire::Message& message) const;
  void answer(Request& request, const wire::Message& message);
  void answer_waiting();
  void on_closed(ConnectionId id);
  void on_owner_died();
  void reply(ConnectionId to, uint32_t request_id, Outcome outcome);
  [[nodiscard]] Connection* agent_taker();
  void on_disk_error(int error);
  void report_disk_error(const Error& error);
  void tell_all(const wire::Message& event);

  // worker.cpp: the end
  void request_end(wire::ExitEvent event);
  void end_if_requested();
  void finish(wire::ExitEvent event);
  [[nodiscard]] wire::Usage usage() const;
  void write_records(const wire::ExitEvent& event);
  [[nodiscard]] std::string panic_line() const;

  // requests.cpp
  Outcome serve(Request& request, const wire::ShapeRequest& wanted);
  Outcome serve(Request& request, const wire::ProbeRequest&);
  Outcome serve(Request& request, const wire::SmpProbeRequest& probe);
  Outcome serve(Request& request, const wire::BootRequest& boot);
  Outcome serve(Request& request, const wire::RestoreRequest& restore);
  Outcome serve(Request& request, const wire::ConnectRequest& connect);
  Outcome serve(Request& request, const wire::SnapshotRequest&);
  Outcome serve(Request& request, const wire::CaptureRequest& capture);
  Outcome serve(Request& request, const wire::WriteCaptureRequest&);
  Outcome serve(Request& request, const wire::MergeRequest&);
  Outcome serve(Request& request, const wire::WorkingSetRequest&);
  Outcome serve(Request& request, const wire::PauseRequest&);
  Outcome serve(Request& request, const wire::ResumeRequest& resume);
  Outcome serve(Request& request, const wire::LogsRequest& logs);
  Outcome serve(Request& request, const wire::InfoRequest&);
  Outcome serve(Request& request, const wire::TerminateRequest& terminate);
  Outcome serve(Request& request, const wire::UnknownMessage& unknown);
  template <class NotARequest>
  Outcome serve(Request&, const NotARequest&) {
    return base::fail(ErrorCode::protocol, "not a request of the control wire");
  }
  [[nodiscard]] Result<void> check_stage(Stage wanted) const;
  [[nodiscard]] base::LogSink log_sink();
  [[nodiscard]] Result<void> start_net_link(Request& request, const wire::Shape& shape);
  Result<void> attach_devices(wire::VmFds<base::Fd>& files,
                              const std::vector<wire::DiskSpec>& disks, wire::NetworkKind network);
  Result<void> attach_network(wire::VmFds<base::Fd>& files, wire::NetworkKind network);
  void start(const Request& request, wire::VmFds<base::Fd> files,
             const wire::Attachment& attachment);
  void load_logs(wire::VmFds<base::Fd>& files);
  void listen_for_clients();
  [[nodiscard]] uint64_t since_start(Clock::time_point when) const;
  [[nodiscard]] wire::StartSteps steps() const;

  // capture.cpp
  Result<std::vector<NewLayer>> format_layers(Request& request) const;
  void push_layers(std::vector<NewLayer> layers);
  Outcome capture_late(Request& request, const wire::CaptureRequest& capture,
                       std::vector<NewLayer> layers);
  void write_capture(const std::weak_ptr<UnwrittenCapture>& unwritten);
  void end_unwritten(Outcome outcome);
  enum class NewLayers : uint8_t { none, pushed };
  void stand_for(ConnectionId asker, NewLayers layers);
  void leave_standing();
  void run_on_if_abandoned();

  sys::Loop& loop_;
  const size_t max_streams_;  // of the guest; from before the jail, where no limit can be read
  std::map<ConnectionId, std::unique_ptr<Connection>> connections_;
  ConnectionId next_connection_ = kOwner + 1;
  base::Fd owner_process_;
  sys::Loop::WatchId owner_watch_ = 0;
  bool owner_is_there_ = true;
  bool dies_with_owner_ = true;

  Log kernel_log_;
  Log app_log_;
  LogKeeper log_keeper_;
  AppStreams app_streams_;
  ClockStreams clock_streams_;
  std::unique_ptr<NetLink> net_link_;  // longer than its device: one ends with the machine
  std::unique_ptr<Machine> machine_;
  VsockDevice* vsock_ = nullptr;            // owned by the machine
  NetDevice* net_ = nullptr;                // likewise
  std::vector<DiskStack*> writable_disks_;  // likewise
  Stage stage_ = Stage::empty;
  Clock::time_point start_received_;
  wire::StartSteps steps_;  // `entered` is the machine's to tell

  base::Fd listener_;
  sys::Loop::WatchId listener_watch_ = 0;
  base::Fd exit_record_;
  base::Fd kernel_log_file_;
  base::Fd app_log_file_;
  std::vector<base::Fd> leases_;  // locked files: they say that this Vm lives
  bool disk_error_reported_ = false;
  AgentOffer agent_offer_;

  bool busy_ = false;                       // see BusyMark
  std::deque<WaitingRequest> waiting_;      // until it is not
  std::optional<ConnectionId> stands_for_;  // who asked for the capture that left it paused
  NewLayers new_layers_ = NewLayers::none;  // of that capture
  std::shared_ptr<UnwrittenCapture> unwritten_;
  std::optional<wire::ExitEvent> end_requested_;
};

}  // namespace microvm::vmm::control
