// A link whose other end is the agent's own code, on threads of the test, or whatever the test
// says.
#pragma once

#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "host/session/agent_client.hpp"
#include "sys/socket.hpp"

namespace microvm::test {

class LocalLink : public host::AgentLink {
 public:
  using Peer = std::function<void(base::Fd stream)>;
  explicit LocalLink(Peer peer) : peer_(std::move(peer)) {}
  ~LocalLink() override { wait_for_peers(); }

  // Until each has seen the end of its stream, which is the caller's to close.
  void wait_for_peers() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  Result<base::Fd> open(const host::Limits&) override {
    auto pair = sys::stream_pair();
    if (!pair) return base::fail(pair.error());
    threads_.emplace_back(
        [this, stream = std::move(pair->second)]() mutable { peer_(std::move(stream)); });
    return std::move(pair->first);
  }
  Error broken(std::string_view what) override {
    return {ErrorCode::vm_gone, std::string(what) + ": the peer is gone"};
  }

 private:
  Peer peer_;
  std::vector<std::thread> threads_;
};

}  // namespace microvm::test
