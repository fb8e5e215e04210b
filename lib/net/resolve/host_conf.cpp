#include "net/resolve/host_conf.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <span>
#include <string_view>

#include "sys/file.hpp"
#include "sys/socket.hpp"
#include "wire/net.hpp"

namespace microvm::net {
namespace {

constexpr std::chrono::seconds kAskAtMostEvery{2};

ResolvConf parse_bytes(const std::vector<std::byte>& bytes) {
  return parse_resolv_conf(
      std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace

ResolvConf read_resolv_conf(const std::string& path) {
  const auto bytes = sys::read_file(AT_FDCWD, path, kMaxResolvConfBytes);
  return parse_bytes(bytes ? *bytes : std::vector<std::byte>());
}

HostConf::HostConf(sys::Loop& loop, base::Fd starter, ResolvConf known, Changed changed)
    : loop_(loop),
      starter_(std::move(starter)),
      known_(std::move(known)),
      changed_(std::move(changed)) {
  if (!starter_ || !sys::set_nonblocking(starter_.get())) return;
  watch_ = loop_.watch(starter_.get(), POLLIN, [this](uint32_t) { receive(); });
}

HostConf::~HostConf() {
  close();
}

void HostConf::close() {
  if (watch_ != 0) loop_.unwatch(std::exchange(watch_, 0));
  starter_.reset();
}

void HostConf::look_again() {
  const auto now = std::chrono::steady_clock::now();
  if (!starter_ || now - asked_at_ < kAskAtMostEvery) return;
  asked_at_ = now;
  const std::byte request{static_cast<uint8_t>(wire::StarterRequest::resolv_conf)};
  static_cast<void>(sys::send_message(starter_.get(), std::span(&request, 1)));
}

void HostConf::receive() {
  auto received = sys::receive_message(starter_.get(), {16, 1});
  // Gone: what is known stays. (It would end us for a channel that we close.)
  if (!received && received.error().code == ErrorCode::vm_gone) return close();
  if (received && received->fds.size() == 1) take_file(received->fds[0].get());
}

void HostConf::take_file(int fd) {
  const auto bytes = sys::read_all(fd, kMaxResolvConfBytes);
  if (!bytes) return;
  ResolvConf conf = parse_bytes(*bytes);
  if (conf == known_) return;
  known_ = std::move(conf);
  changed_(known_);
}

}  // namespace microvm::net
