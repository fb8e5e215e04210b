// The device's side of the transport: queues, interrupts, life cycle. The driver's side is in
// transport_registers.cpp, what is saved in transport_snapshot.cpp.
#include "vmm/virtio/transport.hpp"

#include <algorithm>
#include <string>

namespace microvm::vmm {

using namespace status;

namespace {

// A driver can fail and reset in a loop; the log is not for it to fill.
constexpr uint32_t kMaxLoggedFailures = 16;

}  // namespace

Transport::Transport(GuestMemory& memory, sys::Loop& loop, std::unique_ptr<Device> device,
                     base::LogSink log)
    : memory_(memory),
      loop_(loop),
      log_(std::move(log)),
      device_(std::move(device)),
      self_(std::make_shared<Transport*>(this)) {
  for (const uint16_t size : device_->queue_sizes()) {
    queues_.emplace_back(size);
  }
  state_.device_type = static_cast<uint32_t>(device_->kind().type);
  state_.queues.resize(queues_.size());
  publish_pending_.resize(queues_.size());
  looks_.resize(queues_.size());
  stopping_.resize(queues_.size());
}

Transport::~Transport() {
  *self_ = nullptr;
}

// ---- what a device asks of us ------------------------------------------------------------------

bool Transport::pop(uint16_t queue, Chain& chain) {
  if (!live() || queue >= queues_.size() || stopping_[queue] != 0) return false;
  const bool kicked = serving_ == queue;
  if (kicked && budget_ == 0) {
    refused_ = true;
    return false;
  }
  Queue& from = queues_[queue];
  Queue::Pop result = from.pop(chain);
  // Outside of a kick nobody else asks the driver to tell us about the next one.
  if (result == Queue::Pop::empty && !kicked && from.allow_kicks()) result = from.pop(chain);
  if (result == Queue::Pop::broken) fail(from.broken());
  if (result != Queue::Pop::chain) return false;
  if (kicked) --budget_;
  return true;
}

void Transport::put_back(uint16_t queue, uint16_t head) {
  queues_[queue].put_back(head);
  if (serving_ == queue) ++budget_;
}

uint16_t Transport::made_available(uint16_t queue) const {
  return queues_[queue].available_index();
}

void Transport::push(uint16_t queue, uint16_t head, uint32_t written_bytes) {
  queues_[queue].push(head, written_bytes);
  if (!resetting_ || !quiet()) return;
  quiet_changed_.notify_all();
  post(&Transport::reset_posted, 0);
}

void Transport::publish(uint16_t queue) {
  queues_[queue].show_used();
  if (!interrupt_can_wait(queue) && queues_[queue].take_interrupt()) interrupt_used(queue);
  finish_stop(queue);
}

void Transport::publish_soon(uint16_t queue) {
  if (publish_pending_[queue] != 0) return;
  publish_pending_[queue] = 1;
  post(&Transport::publish_posted, queue);
}

void Transport::publish_posted(uint16_t queue) {
  const std::lock_guard guard(mutex_);
  publish_pending_[queue] = 0;
  if (looks_[queue] && live()) serve(queue);
  publish(queue);
}

// virtio 1.2 §2.1.2: a driver that has set DRIVER_OK gets a configuration change with the bit.
void Transport::fail(std::string_view reason) {
  if (has_status(kNeedsReset)) return;
  state_.status |= kNeedsReset;
  if (has_status(kDriverOk)) interrupt_config();
  if (++failures_ > kMaxLoggedFailures || !log_) return;
  const std::string name = device_->kind().name;
  log_(base::LogLevel::warning,
       "virtio " + name + ": " + std::string(reason) + "; the guest's driver must reset it");
}

void Transport::config_changed() {
  ++state_.config_generation;
  if (has_status(kDriverOk)) interrupt_config();
}

bool Transport::has_feature(uint64_t feature) const {
  return (state_.driver_features & feature) == feature;
}

// ---- queues ------------------------------------------------------------------------------------

void Transport::kick(uint16_t queue) {
  const std::lock_guard guard(mutex_);
  if (queue < queues_.size() && live()) serve(queue);
}

// Lets the device work until the queue is empty, but no longer than one queue's worth: then the
// loop's other work has its turn. With kicks allowed a last look decides: what is there now was
// there before the driver could tell us, unless the device had its chance and left it.
void Transport::serve(uint16_t queue) {
  Queue& served = queues_[queue];
  serving_ = queue;
  budget_ = served.size();
  refused_ = false;
  bool offered = false;
  bool took_any = false;
  while (live() && served.running()) {
    served.suppress_kicks();
    const uint16_t before = served.position().next_available;
    device_->process(queue);
    publish(queue);
    if (budget_ == 0) {
      post(&Transport::kick, queue);
      break;
    }
    const bool took = served.position().next_available != before;
    took_any = took_any || took;
    // What was put back has its share again, but the device went without the rest of the ring. A
    // whole share is enough for all of it, so this comes again only after progress.
    if (refused_ && took_any) {
      post(&Transport::kick, queue);
      break;
    }
    if (took_any && kicks_can_wait(queue)) {
      look_later(queue);
      break;
    }
    const bool more = served.allow_kicks();
    if (!more || (offered && !took)) break;
    offered = true;
  }
  if (!took_any) end_pace(queue);
  serving_ = -1;
}

bool Transport::live() const {
  return has_status(kDriverOk) && !has_status(kNeedsReset) && !paused_ && !resetting_;
}

bool Transport::quiet() const {
  return std::all_of(queues_.begin(), queues_.end(),
                     [](const Queue& queue) { return queue.in_flight() == 0; });
}

void Transport::post(void (Transport::*call)(uint16_t), uint16_t queue) {
  loop_.post([self = self_, call, queue] {
    if (*self != nullptr) ((*self)->*call)(queue);
  });
}

// virtio 1.2 §4.2.2.2: the driver reads it as ready until everything in flight is back; from then
// on nothing of it is read or written. It comes back with a reset only.
void Transport::stop_queue(uint16_t queue) {
  stopping_[queue] = 1;
  finish_stop(queue);
}

void Transport::finish_stop(uint16_t queue) {
  Queue& stopped = queues_[queue];
  if (stopping_[queue] == 0 || stopped.in_flight() != 0) return;
  if (stopped.running() && stopped.has_unpublished()) return;
  stopping_[queue] = 0;
  if (stopped.take_interrupt()) interrupt_used(queue);
  stopped.stop();
  state_.queues[queue].ready = false;
}

// ---- life cycle --------------------------------------------------------------------------------

uint64_t Transport::offered_features() const {
  return device_->features() | kFeatureVersion1 | kFeatureEventIdx | kFeatureIndirectDesc;
}

void Transport::start_driver() {
  state_.status |= kDriverOk;
  if (has_status(kNeedsReset)) return;
  if (!start_queues()) return fail("a queue's size or address is not valid");
  device_->activate(*this);
}

bool Transport::start_queues() {
  const QueueOptions options{.event_idx = has_feature(kFeatureEventIdx),
                             .indirect = has_feature(kFeatureIndirectDesc)};
  for (size_t i = 0; i < queues_.size(); ++i) {
    const QueuePosition position =
        i < state_.positions.size() ? state_.positions[i] : QueuePosition{};
    if (!state_.queues[i].ready) continue;
    if (!queues_[i].start(memory_, state_.queues[i], options, position)) return false;
  }
  return true;
}

// In-flight I/O still moves bytes in the driver's buffers, and drivers do not wait for a reset to
// take effect, so this waits. When that takes too long the device stays unusable until the I/O has
// ended; the status then reads DEVICE_NEEDS_RESET instead of zero.
void Transport::reset(std::unique_lock<std::mutex>& guard) {
  resetting_ = true;
  quiet_changed_.wait_for(guard, kResetDeadline, [this] { return quiet(); });
  if (quiet()) return finish_reset();
  fail("a reset waits for input or output that does not end");
}

void Transport::reset_posted(uint16_t) {
  const std::lock_guard guard(mutex_);
  if (resetting_ && quiet()) finish_reset();
}

void Transport::finish_reset() {
  if (!resetting_) return;
  resetting_ = false;
  for (Queue& queue : queues_) {
    queue.stop();
  }
  const TransportState old = std::exchange(state_, {});
  state_.device_type = old.device_type;
  state_.config_generation = old.config_generation;
  state_.queues.resize(queues_.size());
  std::fill(stopping_.begin(), stopping_.end(), uint8_t{0});
  interrupt_status_ = 0;
  reset_registers();
  device_->reset();
}

void Transport::pause() {
  const std::lock_guard guard(mutex_);
  paused_ = true;
  for (uint16_t queue = 0; queue < queues_.size(); ++queue) end_pace(queue);
}

bool Transport::idle() const {
  const std::lock_guard guard(mutex_);
  const auto unpublished = [](const Queue& queue) {
    return queue.running() && queue.has_unpublished();
  };
  return quiet() && !resetting_ && std::none_of(queues_.begin(), queues_.end(), unpublished);
}

void Transport::resume() {
  const std::lock_guard guard(mutex_);
  paused_ = false;
  repeat_interrupts();
  for (uint16_t queue = 0; live() && queue < queues_.size(); ++queue) {
    serve(queue);
  }
}

void Transport::flush(Device::FlushDone done) {
  device_->flush(std::move(done));
}

bool Transport::needs_reset() const {
  const std::lock_guard guard(mutex_);
  return has_status(kNeedsReset);
}

}  // namespace microvm::vmm
