// The requests that suspend, fork and checkpoints are made of.
#include "vmm/snapshot/capture.hpp"

#include <malloc.h>

#include "vmm/control/jail.hpp"
#include "vmm/control/worker.hpp"
#include "vmm/disk/merge.hpp"

namespace microvm::vmm::control {
namespace {

snapshot::Pages pages_of(const wire::CaptureRequest& capture) {
  return capture.all_pages ? snapshot::Pages::and_overlays : snapshot::Pages::written;
}

void give_up(const std::vector<NewLayer>& layers) {
  for (const NewLayer& formatted : layers) formatted.layer.give_up();
}

}  // namespace

// A capture that was answered, with what is left to do.
struct Worker::UnwrittenCapture {
  snapshot::LateCapture capture;
  std::vector<NewLayer> layers;
  wire::CaptureReply reply;  // what was said of it
  ConnectionId asker;
  std::optional<uint32_t> asked;  // the request that waits for the rest
};

// Before anything is stopped: a file that cannot become a layer costs the guest nothing.
Result<std::vector<NewLayer>> Worker::format_layers(Request& request) const {
  constexpr size_t kCaptureFiles = 2;
  if (request.fds.size() != kCaptureFiles + writable_disks_.size()) {
    return base::fail(ErrorCode::invalid_argument,
                      "a capture request comes with a pages and a state file, and a new layer for "
                      "each writable disk");
  }
  std::vector<NewLayer> layers;
  for (size_t i = 0; i < writable_disks_.size(); ++i) {
    auto layer = writable_disks_[i]->format_layer(std::move(request.fds[kCaptureFiles + i]));
    if (!layer) {
      give_up(layers);
      return base::fail(layer.error());
    }
    layers.push_back(std::move(*layer));
  }
  return layers;
}

void Worker::push_layers(std::vector<NewLayer> layers) {
  for (size_t i = 0; i < layers.size(); ++i) writable_disks_[i]->push_layer(std::move(layers[i]));
}

Worker::Outcome Worker::serve(Request& request, const wire::CaptureRequest& capture) {
  if (auto ok = check_stage(Stage::started); !ok) return base::fail(ok.error());
  auto layers = format_layers(request);
  if (!layers) return base::fail(layers.error());
  end_unwritten(base::fail(ErrorCode::cancelled, "another capture of the vm was asked for"));
  const BusyMark mark(busy_);
  loop_.flush_raised();  // the guest runs on while the capture is prepared
  const bool was_running = machine_->running();
  if (was_running && !capture.run_on && capture.list_pages && capture.write_later) {
    return capture_late(request, capture, std::move(*layers));
  }
  const auto captured = snapshot::capture(*machine_, {request.fds[0].get(), request.fds[1].get()},
                                          {.pages = pages_of(capture),
                                           .short_pause = was_running && capture.run_on,
                                           .list_pages = capture.list_pages});
  if (captured) {
    push_layers(std::move(*layers));
  } else {
    give_up(*layers);
  }
  // One that was paused before stays so.
  const bool run_on = was_running && (capture.run_on || !captured);
  if (run_on) machine_->run();
  // The lists of many pages leave holes in the heap of a worker that may now be idle for long.
  loop_.post([] { ::malloc_trim(0); });
  if (was_running && !run_on) stand_for(request.from, NewLayers::pushed);
  if (!captured) return base::fail(captured.error());
  return Answer{
      wire::CaptureReply{.page_bytes = captured->page_bytes,
                         .pause_us = us_since(captured->stopped),
                         .listed_memory_bytes = capture.list_pages ? machine_->memory().size() : 0},
      {}};
}

// ---- one that is written later -----------------------------------------------------------------

Worker::Outcome Worker::capture_late(Request& request, const wire::CaptureRequest& capture,
                                     std::vector<NewLayer> layers) {
  auto taken = snapshot::LateCapture::take(*machine_, std::move(request.fds[0]),
                                           std::move(request.fds[1]), pages_of(capture));
  if (!taken) {
    give_up(layers);
    machine_->run();
    return base::fail(taken.error());
  }
  const wire::CaptureReply reply{.page_bytes = taken->page_bytes(),
                                 .pause_us = us_since(taken->stopped()),
                                 .listed_memory_bytes = machine_->memory().size(),
                                 .unwritten = true};
  stand_for(request.from, NewLayers::none);
  unwritten_ = std::make_shared<UnwrittenCapture>(
      UnwrittenCapture{std::move(*taken), std::move(layers), reply, request.from, {}});
  return Answer{reply, {}};
}

Worker::Outcome Worker::serve(Request& request, const wire::WriteCaptureRequest&) {
  if (auto ok = check_stage(Stage::started); !ok) return base::fail(ok.error());
  if (!unwritten_ || unwritten_->asker != request.from || unwritten_->asked) {
    return base::fail(ErrorCode::cancelled, "no capture of yours is to be written (any more)");
  }
  unwritten_->asked = request.id;
  machine_->flush([this, weak = std::weak_ptr(unwritten_)](const Result<void>& flushed) {
    if (weak.expired()) return;
    if (!flushed) return end_unwritten(base::fail(flushed.error()));
    write_capture(weak);
  });
  return Later{};
}

// Other requests are served between the steps: one may end it.
void Worker::write_capture(const std::weak_ptr<UnwrittenCapture>& weak) {
  const auto unwritten = weak.lock();
  if (!unwritten) return;
  const auto all = unwritten->capture.write_some(*machine_);
  if (!all) return end_unwritten(base::fail(all.error()));
  if (!*all) {
    loop_.post([this, weak] { write_capture(weak); });
    return;
  }
  push_layers(std::exchange(unwritten->layers, {}));
  new_layers_ = NewLayers::pushed;
  wire::CaptureReply written = unwritten->reply;
  written.page_bytes = unwritten->capture.page_bytes();
  written.unwritten = false;
  end_unwritten(Answer{written, {}});
}

void Worker::end_unwritten(Outcome outcome) {
  const auto ended = std::exchange(unwritten_, nullptr);
  if (!ended) return;
  give_up(ended->layers);
  if (ended->asked) reply(ended->asker, *ended->asked, std::move(outcome));
}

// ---- who it stands for -------------------------------------------------------------------------

void Worker::stand_for(ConnectionId asker, NewLayers layers) {
  stands_for_ = asker;
  new_layers_ = layers;
}

// It goes on, or stands for somebody else.
void Worker::leave_standing() {
  stands_for_.reset();
  new_layers_ = NewLayers::none;
  end_unwritten(base::fail(ErrorCode::cancelled, "the capture was not written: the vm runs on"));
}

// No dead client leaves a machine standing.
void Worker::run_on_if_abandoned() {
  if (!stands_for_ || busy_ || end_requested_) return;
  const auto asker = connections_.find(*stands_for_);
  if (asker != connections_.end() && !asker->second->closed()) return;
  leave_standing();
  machine_->run();
}

Worker::Outcome Worker::serve(Request& request, const wire::MergeRequest&) {
  if (auto ok = check_stage(Stage::empty); !ok) return base::fail(ok.error());
  if (request.fds.size() != 2) {
    return base::fail(ErrorCode::invalid_argument,
                      "a merge request comes with the lower and the upper layer");
  }
  request_end({wire::ExitEvent::Reason::terminated, "merged"});
  if (auto ok = lock_down(); !ok) return base::fail(ok.error());
  const auto& asker = *connections_.at(request.from);
  const auto merged =
      merge_layers(std::move(request.fds[0]), std::move(request.fds[1]), [&]() -> Result<void> {
        if (!asker.peer_is_gone()) return {};
        return base::fail(ErrorCode::cancelled, "merge of disk layers: nobody waits for it");
      });
  if (!merged) return base::fail(merged.error());
  return Answer{wire::OkReply{}, {}};
}

}  // namespace microvm::vmm::control
