// PID 1 of a guest.
#include <fcntl.h>
#include <sys/stat.h>

#include "agent/base/file.hpp"
#include "agent/base/kernel_log.hpp"
#include "agent/base/thread.hpp"
#include "agent/boot/boot.hpp"
#include "agent/boot/modprobe.hpp"
#include "agent/boot/reaper.hpp"
#include "agent/clone/host_clock.hpp"
#include "agent/link/vsock.hpp"
#include "agent/operation/doorbell.hpp"
#include "agent/operation/guest.hpp"
#include "agent/operation/power.hpp"
#include "agent/operation/server.hpp"
#include "agent/program/file_limit.hpp"

namespace microvm::agent {
namespace {

// Lives as long as the machine; not on a stack, for its log buffer.
Guest guest;

Outcome<void> prepare_guest(base::Fd cgroup) {
  guest.end_machine = end_machine;
  guest.stop_machine = stop_machine;
  guest.root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (guest.root_fd < 0) return fail_errno("/");
  guest.network.come_up(guest.root_fd, "/dev/shm");
  // For the programs' signs to the idle policy; an image without /run is one that gives none.
  static_cast<void>(mkdir("/run/microvm", 0755));
  return guest.freezer.adopt_cgroup(std::move(cgroup));
}

Outcome<void> start_services() {
  auto listener = listen_for_host(kOperationPort);
  if (!listener) return fail(listener.error());
  const int fd = listener->release();
  int error = start_thread([fd] { serve_operations(guest, base::Fd(fd)); });
  if (error == 0)
    error = start_thread([] { guest.app_log.run([] { return connect_host(kAppLogPort); }); });
  if (error == 0) error = start_thread([] { keep_doorbell(guest); });
  if (error == 0)
    error = start_thread([] { follow_host_clock([] { return connect_host(kClockPort); }); });
  if (error != 0) return fail_errno("start a thread", error);
  return {};
}

Outcome<void> come_up() {
  auto cgroup = boot();
  if (!cgroup) return fail(cgroup.error());
  raise_file_limit();
  if (auto prepared = prepare_guest(std::move(*cgroup)); !prepared) return prepared;
  return start_services();
}

}  // namespace
}  // namespace microvm::agent

int main(int argc, char** argv) {
  if (microvm::agent::is_module_request(argc, argv))
    return microvm::agent::load_requested_module(argc, argv);
  microvm::agent::block_child_signal();
  if (const auto up = microvm::agent::come_up(); !up)
    microvm::agent::give_up_booting(up.error().message);
  microvm::agent::reap_orphans();
}
