#include "agent/link/vsock.hpp"

#include <sys/socket.h>

#include <linux/vm_sockets.h>

namespace microvm::agent {
namespace {

constexpr int kBacklog = 128;

sockaddr_vm address_of(unsigned int cid, uint32_t port) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = port;
  return address;
}

base::Fd vsock_stream() {
  return base::Fd(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

const sockaddr* generic(const sockaddr_vm& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

}  // namespace

base::Fd connect_host(uint32_t port) {
  base::Fd stream = vsock_stream();
  const sockaddr_vm host = address_of(VMADDR_CID_HOST, port);
  if (!stream || connect(stream.get(), generic(host), sizeof host) != 0) return base::Fd();
  return stream;
}

Outcome<base::Fd> listen_for_host(uint32_t port) {
  base::Fd listener = vsock_stream();
  if (!listener) return fail_errno("vsock socket");
  const sockaddr_vm any = address_of(VMADDR_CID_ANY, port);
  if (bind(listener.get(), generic(any), sizeof any) != 0) return fail_errno("vsock bind");
  if (listen(listener.get(), kBacklog) != 0) return fail_errno("vsock listen");
  return listener;
}

base::Fd accept_host(int listener) {
  for (;;) {
    sockaddr_vm peer{};
    socklen_t size = sizeof peer;
    base::Fd stream(accept4(listener, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
    if (!stream || peer.svm_cid == VMADDR_CID_HOST) return stream;
  }
}

// An empty send carries nothing, but fails where one with bytes would.
bool host_left(int stream) {
  return send(stream, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != EINTR;
}

}  // namespace microvm::agent
