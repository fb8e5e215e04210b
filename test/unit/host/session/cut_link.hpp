// A link to the agent's own code whose streams can be cut, as the end of a worker does: what it
// held in either direction is lost, what the host's socket has is still there.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "agent/operation/operation.hpp"
#include "host/session/agent_client.hpp"
#include "sys/socket.hpp"
#include "unit/agent/operation_client.hpp"

namespace microvm::test {

class CutLink : public host::AgentLink {
 public:
  explicit CutLink(agent::Guest& guest) : guest_(guest) {}
  ~CutLink() override {
    cut();
    for (auto& thread : threads_) thread.join();
  }

  Result<base::Fd> open(const host::Limits&) override {
    auto host_pair = sys::stream_pair();
    auto agent_pair = sys::stream_pair();
    if (!host_pair || !agent_pair) return base::fail(ErrorCode::io, "no sockets");
    // All that is under way is less than a worker's window, as with a worker.
    const int bytes = 24 * 1024;
    ::setsockopt(agent_pair->second.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    const std::scoped_lock lock(mutex_);
    if (cut_) return base::fail(ErrorCode::vm_gone, "the link is cut");
    carriers_++;
    threads_.emplace_back([this, host_end = std::move(host_pair->second),
                           agent_end = std::move(agent_pair->first)]() mutable {
      carry(host_end.get(), agent_end.get());
      host_end.reset();
      agent_end.reset();
      carriers_--;
    });
    threads_.emplace_back([this, stream = std::move(agent_pair->second)]() mutable {
      agent::serve_operation(guest_, std::move(stream));
    });
    return std::move(host_pair->first);
  }
  Error broken(std::string_view what) override {
    return {ErrorCode::vm_gone, std::string(what) + ": the peer is gone"};
  }
  [[nodiscard]] bool over() const override { return cut_; }

  // Nothing is carried any more when it returns.
  void cut() {
    cut_ = true;
    while (carriers_ > 0) std::this_thread::yield();
  }

 private:
  // What it holds back of either direction is lost at the cut.
  void carry(int host, int agent) const {
    Way up{.from = host, .to = agent};
    Way down{.from = agent, .to = host};
    while (!cut_ && !(up.ended && down.ended)) {
      up.step();
      down.step();
    }
  }

  struct Way {
    int from;
    int to;
    std::vector<char> held = {};
    bool ended = false;

    void step() {
      if (!ended && held.size() < 24 * 1024) take();
      if (held.empty()) return;
      const ssize_t sent = ::send(to, held.data(), held.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) held.erase(held.begin(), held.begin() + sent);
      if (sent < 0 && errno != EAGAIN) held.clear();
      if (ended && held.empty()) ::shutdown(to, SHUT_WR);
    }
    void take() {
      std::array<char, 8192> chunk{};
      pollfd in{.fd = from, .events = POLLIN, .revents = 0};
      if (::poll(&in, 1, held.empty() ? 1 : 0) <= 0) return;
      const ssize_t got = ::recv(from, chunk.data(), chunk.size(), MSG_DONTWAIT);
      if (got > 0) held.insert(held.end(), chunk.begin(), chunk.begin() + got);
      if (got > 0 || (got < 0 && errno == EAGAIN)) return;
      ended = true;
      if (held.empty()) ::shutdown(to, SHUT_WR);
    }
  };

  agent::Guest& guest_;
  std::atomic<bool> cut_{false};
  std::atomic<int> carriers_{0};
  std::mutex mutex_;
  std::list<std::thread> threads_;
};

// A Vm that is suspended and resumed by cut().
class CutHome : public host::StreamHome {
 public:
  explicit CutHome(agent::Guest& guest) : guest_(guest) { resume(); }
  ~CutHome() override { wait_for_errands(); }
  // Before it is let go of: an errand may hold a stream, and that the home.
  void wait_for_errands() {
    for (auto& errand : errands_) errand.join();
    errands_.clear();
  }

  Error why_ended(host::AgentLink& link, std::string_view what) override {
    if (!link.over()) return link.broken(what);
    return {ErrorCode::vm_suspended, std::string(what) + ": it was suspended"};
  }
  Result<void> with_link(const host::Limits& limits, std::string_view what,
                         const Use& use) override {
    for (;;) {
      const auto now = link();
      auto used = use(now);
      if (used || used.error().code != ErrorCode::vm_gone || !now->over()) return used;
      if (auto ok = limits.check(what); !ok) return ok;
    }
  }

  bool later(Errand, Work work) override {
    const std::scoped_lock lock(mutex_);
    if (has_no_threads) return false;
    errands_.emplace_back(
        [work = std::move(work)] { work(host::Limits({}, std::chrono::seconds(20))); });
    return true;
  }
  std::atomic<bool> has_no_threads{false};  // as when the Runtime is gone

  std::shared_ptr<CutLink> link() {
    const std::scoped_lock lock(mutex_);
    return link_;
  }
  host::AgentClient client() { return host::AgentClient(link()); }
  void cut() {
    auto old = link();
    resume();
    old->cut();
  }

 private:
  void resume() {
    const std::scoped_lock lock(mutex_);
    links_.push_back(std::make_shared<CutLink>(guest_));
    link_ = links_.back();
  }

  agent::Guest& guest_;
  std::mutex mutex_;
  std::shared_ptr<CutLink> link_;
  std::vector<std::shared_ptr<CutLink>> links_;
  std::list<std::thread> errands_;
};

}  // namespace microvm::test
