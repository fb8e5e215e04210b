// The library's side of net.sock: one conversation with the microvm-net of a Vm. That process sees
// hostile packets, so what comes from it is bounded and nothing waits for it without a limit.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "microvm/network.hpp"
#include "wire/net.hpp"

namespace microvm::host {

class NetClient {
 public:
  // Empty: it does not run. Errors: busy (it accepts nobody), io.
  static Result<std::optional<NetClient>> connect(const std::filesystem::path& vm_dir);

  // Errors: its own, vm_gone (it has ended), protocol, cancelled, deadline_exceeded.
  Result<wire::NetStatus> status(const Limits& limits);
  // Of a setup that stands in the directory; `file` is that.
  Result<void> change_setup(int file, const Limits& limits);

  // From here on only next_flow() is called. Never blocks.
  Result<void> begin_flow_log();
  // Errors: would_block; vm_gone, its own, protocol: nothing more comes.
  Result<wire::FlowRecord> next_flow();
  [[nodiscard]] int fd() const { return socket_.get(); }

 private:
  explicit NetClient(base::Fd socket) : socket_(std::move(socket)) {}
  // Empty: nothing is there now.
  Result<std::optional<wire::NetMessage>> receive();
  Result<wire::NetMessage> ask(const wire::NetMessage& request, std::span<const int> fds,
                               const Limits& limits, std::string_view what);

  base::Fd socket_;
};

// As the public structs have it: everything printable.
[[nodiscard]] FlowRecord to_flow_record(const wire::FlowRecord& record);
void add_status(NetworkCounters& counters, const wire::NetStatus& status);

}  // namespace microvm::host
