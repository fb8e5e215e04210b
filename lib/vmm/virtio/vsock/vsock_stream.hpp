// The bytes of one vsock connection: the host's socket, what waits for its reader, and the credit
// of both sides (virtio 1.2 §5.10.6.3). Knows nothing of queues and packets.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/fd.hpp"

namespace microvm::vmm {

class VsockStream {
 public:
  // The guest may have `window` bytes on the way that the host's reader has not taken.
  explicit VsockStream(uint32_t window) : window_(window) {}

  void open(base::Fd socket) { socket_ = std::move(socket); }
  [[nodiscard]] int fd() const { return socket_.get(); }

  // ---- guest → host
  // Writes what the socket takes and keeps the rest. False: the guest had no credit for this.
  [[nodiscard]] bool take(std::span<const iovec> payload, uint32_t length);
  void flush();
  [[nodiscard]] bool has_unsent() const { return !unsent_.empty(); }
  // The host's reader is gone; what the guest sends now is dropped.
  [[nodiscard]] bool reader_gone() const { return reader_gone_; }
  // No more will come: the reader sees the end after what is kept.
  void end_of_guest_data();
  // The guest wants no more: the host's writer gets EPIPE.
  void refuse_host_data();

  // ---- host → guest
  // Bytes the host's writer has sent and we have not read.
  [[nodiscard]] uint32_t readable_bytes() const;
  // With nothing readable: was that the end?
  [[nodiscard]] bool at_end() const;
  // The host closed its socket, not only one direction of it.
  [[nodiscard]] bool hung_up() const;
  // The number of bytes, 0 or less when there are none after all.
  [[nodiscard]] ssize_t read(std::span<const iovec> buffers);
  // What the guest has room for.
  [[nodiscard]] uint32_t guest_credit() const;
  void count_sent(uint32_t bytes) { sent_ += bytes; }
  void set_guest_credit(uint32_t buf_alloc, uint32_t fwd_cnt);

  // ---- what every packet to the guest says
  [[nodiscard]] uint32_t window() const { return window_; }
  [[nodiscard]] uint32_t forwarded() const { return forwarded_; }
  void count_reported() { reported_ = forwarded_; }
  // The guest should hear of its new credit before it runs out.
  [[nodiscard]] bool should_report() const { return forwarded_ - reported_ >= window_ / 2; }

 private:
  [[nodiscard]] size_t write_now(std::span<const iovec> payload);
  void keep(std::span<const iovec> payload, size_t skip, size_t length);
  void drop_unsent();

  base::Fd socket_;
  const uint32_t window_;
  // All counts wrap at 2^32, as those of the packets do.
  uint32_t received_ = 0;   // from the guest
  uint32_t forwarded_ = 0;  // of it, taken by the socket
  uint32_t reported_ = 0;   // of it, the guest knows
  uint32_t sent_ = 0;       // to the guest
  uint32_t guest_buf_alloc_ = 0;
  uint32_t guest_fwd_cnt_ = 0;
  std::vector<std::byte> unsent_;  // at most window_ bytes
  size_t unsent_start_ = 0;
  bool guest_ended_ = false;
  bool reader_gone_ = false;
};

}  // namespace microvm::vmm
