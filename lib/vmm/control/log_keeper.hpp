// Keeps the logs of the Vm in a file while it runs (state/kept_logs.hpp), a moment after they were
// written to: of a worker that is killed all but that moment is there. A guest that prints without
// end costs one write of each log's size in each of them.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>

#include "base/fd.hpp"
#include "state/kept_logs.hpp"
#include "sys/loop.hpp"
#include "vmm/control/log.hpp"

namespace microvm::vmm::control {

class LogKeeper {
 public:
  static constexpr std::chrono::milliseconds kDelay{200};

  LogKeeper(sys::Loop& loop, Log& kernel, Log& app) : loop_(loop), logs_{&kernel, &app} {}
  LogKeeper(const LogKeeper&) = delete;
  LogKeeper& operator=(const LogKeeper&) = delete;

  // Takes what the file has of earlier lives into the logs, before anything is appended to them;
  // what is from then on is kept. False: it is of a newer version, and stays as it is.
  bool load(base::Fd file);
  // The guest runs: the file shall say that its logs are kept. The loop's thread, as finish().
  void begin();
  // At the end: all that there is. The text files were just written.
  void finish(const std::array<int, state::kKeptLogCount>& text_files);

 private:
  // What one write to the file consists of. The buffers stay until it is done.
  struct Write {
    state::KeptLogs next;
    struct Part {
      uint64_t offset = 0;
      wire::Bytes bytes;
      iovec buffer{};
    };
    std::vector<Part> parts;  // the last one is the header
    size_t done = 0;
  };
  void note();  // any thread
  void keep();
  [[nodiscard]] std::shared_ptr<Write> prepare() const;
  void add_log(state::KeptLogIndex index, Write& write) const;
  void write_part(const std::shared_ptr<Write>& write);
  void end_write(const Write& write, bool is_good);

  sys::Loop& loop_;
  const std::array<Log*, state::kKeptLogCount> logs_;
  base::Fd file_;
  state::KeptLogs kept_;  // as the file has it
  bool writing_ = false;
  std::atomic<bool> noted_{false};
};

}  // namespace microvm::vmm::control
