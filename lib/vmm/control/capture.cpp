// The requests that suspend, fork and checkpoints are made of.
#include "vmm/snapshot/capture.hpp"

#include "vmm/control/jail.hpp"
#include "vmm/control/worker.hpp"
#include "vmm/disk/merge.hpp"

namespace microvm::vmm::control {

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
      for (const NewLayer& formatted : layers) formatted.layer.give_up();
      return base::fail(layer.error());
    }
    layers.push_back(std::move(*layer));
  }
  return layers;
}

Worker::Outcome Worker::serve(Request& request, const wire::CaptureRequest& capture) {
  if (auto ok = check_stage(Stage::started); !ok) return base::fail(ok.error());
  auto layers = format_layers(request);
  if (!layers) return base::fail(layers.error());
  const BusyMark mark(busy_);
  const bool was_running = machine_->running();
  const auto pages = capture.all_pages ? snapshot::Pages::and_overlays : snapshot::Pages::written;
  const auto captured = snapshot::capture(*machine_, {request.fds[0].get(), request.fds[1].get()},
                                          {.pages = pages,
                                           .short_pause = was_running && capture.run_on,
                                           .list_pages = capture.list_pages});
  for (size_t i = 0; i < layers->size(); ++i) {
    NewLayer& layer = (*layers)[i];
    if (captured) {
      writable_disks_[i]->push_layer(std::move(layer));
    } else {
      layer.layer.give_up();
    }
  }
  // One that was paused before stays so.
  const bool run_on = was_running && (capture.run_on || !captured);
  if (run_on) machine_->run();
  if (was_running && !run_on) stands_for_ = request.from;
  if (!captured) return base::fail(captured.error());
  return Answer{
      wire::CaptureReply{.page_bytes = captured->page_bytes,
                         .pause_us = us_since(captured->stopped),
                         .listed_memory_bytes = capture.list_pages ? machine_->memory().size() : 0},
      {}};
}

// No dead client leaves a machine standing.
void Worker::run_on_if_abandoned() {
  if (!stands_for_ || busy_ || end_requested_) return;
  const auto asker = connections_.find(*stands_for_);
  if (asker != connections_.end() && !asker->second->closed()) return;
  stands_for_.reset();
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
