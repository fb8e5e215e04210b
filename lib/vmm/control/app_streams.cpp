#include "vmm/control/app_streams.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <array>

namespace microvm::vmm::control {

AppStreams::~AppStreams() {
  while (!streams_.empty()) drop(streams_.begin());
}

void AppStreams::add(base::Fd stream) {
  if (streams_.size() >= kMaxStreams) return;
  const auto place = streams_.insert(streams_.end(), Stream{std::move(stream), 0});
  place->watch = loop_.watch(place->fd.get(), POLLIN, [this, place](uint32_t) { read(place); });
}

// One piece at a time: the watch comes again while there is more, and others get their turn.
void AppStreams::read(Place stream) {
  std::array<std::byte, 16 * 1024> buffer;
  const ssize_t got = ::recv(stream->fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return drop(stream);
  log_.append(wire::ByteView(buffer).first(static_cast<size_t>(got)));
}

void AppStreams::drop(Place stream) {
  loop_.unwatch(stream->watch);
  streams_.erase(stream);
}

}  // namespace microvm::vmm::control
