#include "host/worker/capture.hpp"

#include <unistd.h>

#include "sys/file.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWhat = "take the state of the microvm";
// The worker gives a slow disk 30 s to finish and 30 s to flush, and says so itself.
constexpr std::chrono::seconds kAnswerLimit{90};
// Restoring reads every one of them; then the next one has all pages.
constexpr size_t kMaxPagesFiles = 8;

Result<wire::CaptureReply> as_captured(const ControlClient::Reply& reply) {
  if (const auto* captured = std::get_if<wire::CaptureReply>(&reply.message)) return *captured;
  return base::fail(ErrorCode::protocol, std::string(kWhat) + ": unexpected answer of the worker");
}

// A layer that the record named and the worker has emptied by now was put there for somebody who
// died: it stands in no disk.
Result<void> drop_unused_layers(const fs::path& dir, VmRun& run, Captured& captured) {
  const auto unused = [&](const std::string& name) { return !is_begun_layer(dir / name); };
  if (std::erase_if(captured.layers, unused) == 0) return {};
  const std::string top = run.layers.back();
  run.layers = captured.layers;
  run.layers.push_back(top);
  return write_run(dir, run);
}

}  // namespace

Result<Captured> capture(const fs::path& vm_dir, ControlClient& client,
                         const CaptureOptions& options, const Limits& limits) {
  if (auto ok = limits.check(kWhat); !ok) return base::fail(ok.error());
  auto run = read_run(vm_dir);
  if (!run) return base::fail(run.error());
  const bool all_pages =
      options.all_pages || !run->pages_known || run->pages.size() >= kMaxPagesFiles;
  auto pages = make_overlay(vm_dir, 0);
  if (!pages) return base::fail(pages.error());
  auto state = sys::memory_file("microvm-state");
  if (!state) return base::fail(state.error());
  const auto number = next_file_number(vm_dir);
  if (!number) return base::fail(number.error());

  Captured captured;
  captured.layers = run->layers;
  if (!all_pages) captured.pages_before = run->pages;
  const std::string top = numbered_file(VmFileKind::layer, *number);
  // The record first: whoever reads it after a crash sees by the size of the new layer whether the
  // worker has begun it.
  run->layers.push_back(top);
  if (auto ok = write_run(vm_dir, *run); !ok) return base::fail(ok.error());
  auto layer = create_numbered_file(vm_dir, top);
  if (!layer) return base::fail(layer.error());
  const int fds[] = {pages->get(), state->get(), layer->get()};
  // Once it is asked the answer is waited for, whoever gave up: it says on which layer the guest
  // goes on, and whether it stands.
  const wire::CaptureRequest request{.all_pages = all_pages,
                                     .run_on = options.run_on,
                                     .list_pages = true,
                                     .write_later = !options.run_on};
  const auto reply = client.call(request, fds, Limits({}, kAnswerLimit), kWhat);
  if (!reply) {
    // A worker that answers has emptied what it does not use; one that did not may yet begin it.
    const auto size = sys::file_size(layer->get());
    const bool answered = reply.error().code != ErrorCode::deadline_exceeded;
    if (answered && size && *size == 0) ::unlink((vm_dir / top).c_str());
    return base::fail(reply.error());
  }
  const auto taken = as_captured(*reply);
  if (!taken) return base::fail(taken.error());
  if (auto ok = drop_unused_layers(vm_dir, *run, captured); !ok) return base::fail(ok.error());
  captured.pages = std::move(*pages);
  captured.state = std::move(*state);
  captured.memory_bytes = taken->listed_memory_bytes;
  captured.page_bytes = taken->page_bytes;
  captured.pause_us = taken->pause_us;
  captured.unwritten = taken->unwritten;
  return captured;
}

Result<void> write_captured(Captured& captured, ControlClient& client, const Limits& limits) {
  if (!captured.unwritten) return {};
  const auto reply =
      client.call(wire::WriteCaptureRequest{}, {}, limits.within(kAnswerLimit), kWhat);
  if (!reply) return base::fail(reply.error());
  const auto written = as_captured(*reply);
  if (!written) return base::fail(written.error());
  captured.page_bytes = written->page_bytes;
  captured.unwritten = false;
  return {};
}

}  // namespace microvm::host
