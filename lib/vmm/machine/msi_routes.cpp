#include "vmm/machine/msi_routes.hpp"

#include "vmm/arch/arch.hpp"

namespace microvm::vmm {

MsiRoutes::MsiRoutes(kvm::Vm& vm, sys::Loop& loop, base::LogSink log, size_t messages)
    : vm_(vm),
      loop_(loop),
      log_(std::move(log)),
      messages_(messages),
      self_(std::make_shared<MsiRoutes*>(this)) {}

MsiRoutes::~MsiRoutes() {
  *self_ = nullptr;
  if (timer_) loop_.cancel(*timer_);
}

uint32_t MsiRoutes::gsi(size_t index) {
  return arch::kFirstMessageGsi + static_cast<uint32_t>(index);
}

void MsiRoutes::set(size_t index, const MsiMessage& message) {
  const std::lock_guard guard(mutex_);
  Entry& entry = messages_[index];
  entry.in_table = false;
  entry.message.reset();
  if (arch::is_message_address(message.address)) entry.message = message;
  changed_ = true;
  if (!is_running_ || is_posted_) return;
  is_posted_ = true;
  loop_.post([self = self_] {
    if (*self != nullptr) (*self)->apply_soon();
  });
}

void MsiRoutes::send(size_t index) noexcept {
  std::optional<MsiMessage> message;
  {
    const std::lock_guard guard(mutex_);
    message = messages_[index].message;
  }
  if (message) static_cast<void>(vm_.send_message(message->address, message->data));
}

void MsiRoutes::apply_soon() {
  const std::lock_guard guard(mutex_);
  is_running_ = true;
  is_posted_ = false;
  if (!changed_ || timer_) return;
  timer_ = loop_.after(kSettleTime, [this] { apply(); });
}

void MsiRoutes::apply() {
  const std::lock_guard guard(mutex_);
  timer_.reset();
  changed_ = false;
  std::vector<arch::MessageRoute> routes;
  for (size_t index = 0; index < messages_.size(); ++index) {
    const auto& message = messages_[index].message;
    if (message) routes.push_back({gsi(index), message->address, message->data});
  }
  if (auto ok = vm_.set_message_routes(routes); !ok) {
    if (log_) log_(base::LogLevel::warning, "interrupts stay slow: " + ok.error().message);
    return;
  }
  for (Entry& entry : messages_) entry.in_table = entry.message.has_value();
}

}  // namespace microvm::vmm
