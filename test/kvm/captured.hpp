// Captures of tiny guests, and clones from them.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "worker_client.hpp"

namespace microvm::vmm::test {

struct Captured {
  base::Fd pages = memory_file();
  base::Fd state = memory_file();
  wire::CaptureReply reply;
};

// `layers`: new ones, for the writable disks.
inline Captured capture(ControlClient& client, const wire::CaptureRequest& request = {},
                        const std::vector<int>& layers = {}) {
  Captured captured;
  std::vector<int> fds = {captured.pages.get(), captured.state.get()};
  fds.insert(fds.end(), layers.begin(), layers.end());
  captured.reply = client.call_for<wire::CaptureReply>(request, fds);
  return captured;
}

// The same of one that may fail.
inline ErrorCode capture_code(ControlClient& client, const std::vector<int>& layers) {
  const base::Fd pages = memory_file();
  const base::Fd state = memory_file();
  std::vector<int> fds = {pages.get(), state.get()};
  fds.insert(fds.end(), layers.begin(), layers.end());
  return error_code(client.call(wire::CaptureRequest{}, fds).message);
}

inline constexpr wire::CaptureRequest kStayPaused{.all_pages = false, .run_on = false};
inline constexpr wire::CaptureRequest kAllPages{.all_pages = true, .run_on = true};

// The memory of a machine that was booted: zeros.
inline base::Fd zero_memory(uint64_t bytes = TinyShape{}.memory_bytes) {
  base::Fd file = memory_file();
  REQUIRE(::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0);
  return file;
}

// A clone over zeros and these overlays, with the state of the last of them.
inline ErrorCode start_clone(WorkerProcess& clone, const base::Fd& memory,
                             const std::vector<const Captured*>& chain,
                             const TinyShape& shape = {}) {
  std::vector<int> overlays;
  for (const Captured* link : chain) overlays.push_back(link->pages.get());
  clone.shape(shape);
  return error_code(clone.restore(memory.get(), chain.back()->state.get(), true, {}, overlays));
}

// The same file, opened anew: what stands below a disk's top layer may not be written to.
inline base::Fd read_only(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

inline uint64_t captured_quad(const Captured& captured, uint64_t address = kCounterAddress) {
  uint64_t value = 0;
  REQUIRE(::pread(captured.pages.get(), &value, sizeof value, static_cast<off_t>(address)) ==
          sizeof value);
  return value;
}

inline bool is_paused(ControlClient& client) {
  return client.call_for<wire::InfoReply>(wire::InfoRequest{}).paused;
}

}  // namespace microvm::vmm::test
