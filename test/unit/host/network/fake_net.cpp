#include "unit/host/network/fake_net.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "sys/file.hpp"
#include "sys/socket.hpp"

namespace microvm::test {

FakeNet::FakeNet(const std::filesystem::path& vm_dir)
    : socket_path_(vm_dir / wire::kNetSocket), wake_(::eventfd(0, EFD_CLOEXEC)) {
  const base::Fd directory(::open(vm_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  auto listener = sys::listen_unix(directory.get(), wire::kNetSocket, sys::SocketKind::seqpacket);
  REQUIRE(listener);
  listener_ = std::move(*listener);
  thread_ = std::jthread([this] { serve(); });
}

FakeNet::~FakeNet() {
  const uint64_t one = 1;
  [[maybe_unused]] const auto raised = ::write(wake_.get(), &one, sizeof one);
  thread_.join();
  std::filesystem::remove(socket_path_);
}

void FakeNet::tell(const wire::FlowRecord& record) {
  const std::scoped_lock lock(mutex_);
  for (const int follower : followers_) {
    [[maybe_unused]] const auto sent = sys::send_message(follower, wire::encode_net(record));
  }
}

bool FakeNet::wait_for_followers(size_t count) const {
  for (int i = 0; i < 2000; ++i) {
    {
      const std::scoped_lock lock(mutex_);
      if (followers_.size() >= count) return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

std::optional<wire::NetworkSetup> FakeNet::setup() const {
  const std::scoped_lock lock(mutex_);
  return setup_;
}

void FakeNet::answer_with(std::optional<wire::Bytes> bytes) {
  const std::scoped_lock lock(mutex_);
  answers_ = false;
  fixed_ = std::move(bytes);
}

void FakeNet::answer(int socket) {
  auto message = sys::receive_message(socket, {.bytes = wire::kMaxNetMessage, .fds = 1});
  const std::scoped_lock lock(mutex_);
  if (!message) {
    std::erase(followers_, socket);
    std::erase_if(connections_, [&](const base::Fd& fd) { return fd.get() == socket; });
    return;
  }
  if (!answers_) {
    if (fixed_) static_cast<void>(sys::send_message(socket, *fixed_));
    return;
  }
  const auto request = wire::decode_net(message->bytes);
  if (!request) return;
  wire::NetMessage reply = wire::NetOk{};
  if (std::holds_alternative<wire::NetStatusRequest>(*request)) reply = status;
  if (std::holds_alternative<wire::FlowLogRequest>(*request)) return followers_.push_back(socket);
  if (std::holds_alternative<wire::SetupChanged>(*request) && message->fds.size() == 1) {
    const auto bytes = sys::read_all(message->fds[0].get(), wire::kMaxNetworkSetupBytes);
    auto setup = bytes ? wire::decode_network_setup(*bytes)
                       : Result<wire::NetworkSetup>(tl::unexpected(bytes.error()));
    if (setup) setup_ = std::move(*setup);
  }
  static_cast<void>(sys::send_message(socket, wire::encode_net(reply)));
}

void FakeNet::serve() {
  for (;;) {
    std::vector<pollfd> fds{{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    {
      const std::scoped_lock lock(mutex_);
      for (const base::Fd& fd : connections_) fds.push_back({fd.get(), POLLIN, 0});
    }
    ::poll(fds.data(), fds.size(), -1);
    if (fds[0].revents != 0) return;
    for (size_t i = 2; i < fds.size(); ++i) {
      if (fds[i].revents != 0) answer(fds[i].fd);
    }
    if (fds[1].revents == 0) continue;
    auto accepted = sys::accept_unix(listener_.get());
    const std::scoped_lock lock(mutex_);
    if (accepted && *accepted) connections_.push_back(std::move(*accepted));
  }
}

}  // namespace microvm::test
