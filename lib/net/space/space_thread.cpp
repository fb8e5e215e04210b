#include "net/space/space_thread.hpp"

#include <sys/socket.h>

#include <cerrno>

#include "net/space/user_namespace.hpp"

namespace microvm::net::space {
namespace {

constexpr std::array<size_t, kSocketTypes> kInStock{2, 1, 2, 1};

int make_socket(size_t type) {
  const bool is_ipv4 = type == static_cast<size_t>(SocketType::tcp4) ||
                       type == static_cast<size_t>(SocketType::udp4);
  const bool is_tcp = type <= static_cast<size_t>(SocketType::tcp6);
  return ::socket(is_ipv4 ? AF_INET : AF_INET6,
                  (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

}  // namespace

SpaceThread::~SpaceThread() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wanted_.notify_all();
  thread_.join();
}

Result<void> SpaceThread::start(std::function<Result<void>()> set_up) {
  thread_ = std::thread([this, set_up = std::move(set_up)] { run(set_up); });
  std::unique_lock lock(mutex_);
  made_.wait(lock, [this] { return is_set_up_; });
  return set_up_result_;
}

void SpaceThread::run(const std::function<Result<void>()>& set_up) {
  auto done = enter_network_namespace().and_then(set_up).and_then(drop_capabilities);
  {
    const std::lock_guard lock(mutex_);
    set_up_result_ = std::move(done);
    is_set_up_ = true;
    if (!set_up_result_) return made_.notify_all();
    for (size_t i = 0; i < kSocketTypes; ++i) stocks_[i].wanted = kInStock[i];
  }
  made_.notify_all();
  fill();
}

// An attempt that failed is made again only when somebody asks again.
SpaceThread::Stock* SpaceThread::short_stock() {
  for (Stock& stock : stocks_) {
    if (stock.error == 0 && stock.sockets.size() < stock.wanted) return &stock;
  }
  return nullptr;
}

void SpaceThread::fill() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    Stock* stock = short_stock();
    if (stock == nullptr) {
      wanted_.wait(lock);
      continue;
    }
    base::Fd made(make_socket(static_cast<size_t>(stock - stocks_.data())));
    stock->error = made ? 0 : errno;
    if (made) stock->sockets.push_back(std::move(made));
    made_.notify_all();
  }
}

Result<base::Fd> SpaceThread::take(SocketType type) {
  std::unique_lock lock(mutex_);
  Stock& stock = stocks_[static_cast<size_t>(type)];
  if (stock.sockets.empty()) {
    stock.error = 0;
    wanted_.notify_all();
    made_.wait(lock, [&] { return !stock.sockets.empty() || stock.error != 0; });
  }
  if (stock.sockets.empty()) return base::fail_errno("make a socket", stock.error);
  base::Fd taken = std::move(stock.sockets.back());
  stock.sockets.pop_back();
  wanted_.notify_all();
  return taken;
}

}  // namespace microvm::net::space
