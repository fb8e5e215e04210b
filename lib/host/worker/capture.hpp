// The state of a running Vm, taken: what suspend, checkpoint and fork have in common.
#pragma once

#include "host/saved/saved_pages.hpp"
#include "host/worker/control_client.hpp"

namespace microvm::host {

struct CaptureOptions {
  // False: the guest stays paused, until the asking process goes away, and what was captured of it
  // may be left to write_captured().
  bool run_on = true;
  bool all_pages = false;  // nothing stands below `pages` but the image
};

// The files of a capture: what can be done before the guest's programs are stopped for it.
class PreparedCapture {
 public:
  static Result<PreparedCapture> make(const std::filesystem::path& vm_dir,
                                      const CaptureOptions& options);
  // One that was not taken leaves nothing.
  ~PreparedCapture();
  PreparedCapture(PreparedCapture&&) noexcept = default;
  PreparedCapture& operator=(PreparedCapture&&) = delete;

  // Once. The agent was frozen before, or the state is of no use but to go on itself. When it fails
  // the guest runs on as before. Errors: the worker's own, out_of_disk, deadline_exceeded.
  Result<Captured> take(ControlClient& client);

 private:
  PreparedCapture(std::filesystem::path dir, const CaptureOptions& options);
  Result<void> make_files();
  [[nodiscard]] const std::string& top() const { return run_.layers.back(); }

  std::filesystem::path dir_;
  CaptureOptions options_;
  VmRun run_;  // with the new layer
  Captured captured_;
  base::Fd layer_;
};

// Both. Error cancelled: of `limits`, before anything is done.
Result<Captured> capture(const std::filesystem::path& vm_dir, ControlClient& client,
                         const CaptureOptions& options, const Limits& limits);
// By the same client, before it is used. When it fails the guest still stands, and nothing of the
// capture is of use. Errors: as above.
Result<void> write_captured(Captured& captured, ControlClient& client, const Limits& limits);

}  // namespace microvm::host
