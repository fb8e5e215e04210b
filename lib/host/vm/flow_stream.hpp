// FlowStream: the public handle over what one microvm-net after another tells of a Vm.
#pragma once

#include <memory>
#include <optional>

#include "host/base/home_process.hpp"
#include "host/network/net_client.hpp"
#include "host/worker/directory_watches.hpp"
#include "microvm/network.hpp"
#include "microvm/vm.hpp"

namespace microvm {

struct [[gnu::visibility("hidden")]] FlowStream::Impl {
  // Errors: io (no more fds).
  static Result<std::unique_ptr<Impl>> open(std::shared_ptr<Vm::Impl> vm);
  explicit Impl(std::shared_ptr<Vm::Impl> what);

  using Next = Result<std::optional<FlowRecord>>;
  Next try_next();
  [[nodiscard]] int fd() const { return ready_.get(); }

  const host::HomeProcess home;

 private:
  Next read_client();
  Next find_client();
  [[nodiscard]] bool is_over() const;

  const std::shared_ptr<Vm::Impl> vm_;
  // Raised when something has happened to the socket's name.
  const std::shared_ptr<const sys::EventFd> seen_ = std::make_shared<const sys::EventFd>();
  const base::Fd ready_;  // an epoll: `seen_`, the Vm's end, the conversation
  int end_ = -1;          // borrowed of the Vm
  std::optional<host::NetClient> client_;
  std::unique_ptr<host::DirectoryWatches::Watch> watch_;  // while there is none
};

}  // namespace microvm
