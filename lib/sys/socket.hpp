// Unix sockets: pairs, named ones in directories of any depth, and messages with fds.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::sys {

struct SocketPair {
  base::Fd first;
  base::Fd second;
};

// All sockets made here are close-on-exec and blocking; see set_nonblocking().
Result<SocketPair> seqpacket_pair();
Result<SocketPair> stream_pair();

enum class SocketKind { seqpacket, stream };

// `name` is a plain file name in the directory: sun_path holds 108 bytes and data directories are
// deeper than that. Errors: already_exists, invalid_argument (a name with a slash, or too long).
Result<base::Fd> listen_unix(int directory_fd, const std::string& name, SocketKind kind);
// Errors: not_found, connection_refused (nobody listens any more).
Result<base::Fd> connect_unix(int directory_fd, const std::string& name, SocketKind kind);
// The same for a peer that may be stuck; the socket is non-blocking. Error busy as well: so many
// wait to be accepted that this one would have to.
Result<base::Fd> connect_unix_at_once(int directory_fd, const std::string& name, SocketKind kind);
// An empty Fd when nobody waits (non-blocking listener).
Result<base::Fd> accept_unix(int listener_fd);

Result<void> set_nonblocking(int fd, bool on = true);

inline constexpr size_t kMaxMessageFds = 253;  // SCM_MAX_FD of Linux

// One datagram with fds, which stay the caller's. Errors: busy (a non-blocking socket is full),
// vm_gone (the peer is).
Result<void> send_message(int socket_fd, std::span<const std::byte> bytes,
                          std::span<const int> fds = {});

// The peer of this Unix socket has not received all of what was sent. False where it can not be
// told.
[[nodiscard]] bool has_unread(int socket_fd);

struct ReceivedMessage {
  std::vector<std::byte> bytes;
  std::vector<base::Fd> fds;  // close-on-exec
  // Fds came that this process has no room for (RLIMIT_NOFILE, or the host's): `fds` is empty, all
  // that came are closed.
  bool out_of_fds = false;
};

struct MessageLimits {
  size_t bytes = size_t{64} * 1024;
  size_t fds = 64;
};

// The next datagram. Errors: vm_gone (end of stream; an empty datagram reads the same), busy
// (non-blocking and nothing there), protocol (longer than the limits; its fds are closed, never
// leaked).
Result<ReceivedMessage> receive_message(int socket_fd, MessageLimits limits = {});

}  // namespace microvm::sys
