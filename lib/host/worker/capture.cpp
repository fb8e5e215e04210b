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
  // One that is missing is no such layer: whoever needs it names it.
  const auto unused = [&](const std::string& name) {
    std::error_code ec;
    return fs::file_size(dir / name, ec) == 0 && !ec;
  };
  if (std::erase_if(captured.layers, unused) == 0) return {};
  const std::string top = run.layers.back();
  run.layers = captured.layers;
  run.layers.push_back(top);
  return write_run(dir, run);
}

}  // namespace

PreparedCapture::PreparedCapture(fs::path dir, const CaptureOptions& options)
    : dir_(std::move(dir)), options_(options) {}

// Nobody has begun it: the record may name it.
PreparedCapture::~PreparedCapture() {
  if (layer_.valid()) ::unlink((dir_ / top()).c_str());
}

Result<PreparedCapture> PreparedCapture::make(const fs::path& vm_dir,
                                              const CaptureOptions& options) {
  PreparedCapture prepared(vm_dir, options);
  if (auto ok = prepared.make_files(); !ok) return base::fail(ok.error());
  return prepared;
}

Result<void> PreparedCapture::make_files() {
  auto run = read_run(dir_);
  if (!run) return base::fail(run.error());
  run_ = std::move(*run);
  options_.all_pages =
      options_.all_pages || !run_.pages_known || run_.pages.size() >= kMaxPagesFiles;
  auto pages = make_overlay(dir_, 0);
  if (!pages) return base::fail(pages.error());
  captured_.pages = std::move(*pages);
  auto state = sys::memory_file("microvm-state");
  if (!state) return base::fail(state.error());
  captured_.state = std::move(*state);
  const auto number = next_file_number(dir_);
  if (!number) return base::fail(number.error());
  captured_.layers = run_.layers;
  if (!options_.all_pages) captured_.pages_before = run_.pages;
  // The record first: whoever reads it after a crash sees by the size of the new layer whether the
  // worker has begun it.
  run_.layers.push_back(numbered_file(VmFileKind::layer, *number));
  if (auto ok = write_run(dir_, run_); !ok) return ok;
  auto layer = create_numbered_file(dir_, top());
  if (!layer) return base::fail(layer.error());
  layer_ = std::move(*layer);
  return {};
}

// Once it is asked the answer is waited for, whoever gave up: it says on which layer the guest goes
// on, and whether it stands.
Result<Captured> PreparedCapture::take(ControlClient& client) {
  const int fds[] = {captured_.pages.get(), captured_.state.get(), layer_.get()};
  const wire::CaptureRequest request{.all_pages = options_.all_pages,
                                     .run_on = options_.run_on,
                                     .list_pages = true,
                                     .write_later = !options_.run_on};
  const auto reply = client.call(request, fds, Limits({}, kAnswerLimit), kWhat);
  const base::Fd layer = std::move(layer_);
  if (!reply) {
    // A worker that answers has emptied what it does not use; one that did not may yet begin it.
    const auto size = sys::file_size(layer.get());
    const bool answered = reply.error().code != ErrorCode::deadline_exceeded;
    if (answered && size && *size == 0) ::unlink((dir_ / top()).c_str());
    return base::fail(reply.error());
  }
  const auto taken = as_captured(*reply);
  if (!taken) return base::fail(taken.error());
  if (auto ok = drop_unused_layers(dir_, run_, captured_); !ok) return base::fail(ok.error());
  captured_.memory_bytes = taken->listed_memory_bytes;
  captured_.page_bytes = taken->page_bytes;
  captured_.pause_us = taken->pause_us;
  captured_.unwritten = taken->unwritten;
  return std::move(captured_);
}

Result<Captured> capture(const fs::path& vm_dir, ControlClient& client,
                         const CaptureOptions& options, const Limits& limits) {
  if (auto ok = limits.check(kWhat); !ok) return base::fail(ok.error());
  auto prepared = PreparedCapture::make(vm_dir, options);
  if (!prepared) return base::fail(prepared.error());
  return prepared->take(client);
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
