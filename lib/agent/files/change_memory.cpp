#include "agent/files/change_memory.hpp"

#include <algorithm>

namespace microvm::agent {

ChangeMemory::Change* ChangeMemory::find(std::span<const std::byte> id) {
  for (Change& change : changes_) {
    if (std::ranges::equal(change.id, id)) return &change;
  }
  return nullptr;
}

ChangeMemory::Change& ChangeMemory::add(std::span<const std::byte> id) {
  Change& change = changes_.emplace_back();
  std::ranges::copy(id, change.id.begin());
  return change;
}

ChangeMemory::Turn ChangeMemory::begin(std::span<const std::byte> id) {
  const Lock lock(mutex_);
  Change* change = find(id);
  while (change != nullptr && change->in_hand) {
    ended_.wait(mutex_);
    change = find(id);
  }
  if (change == nullptr) change = &add(id);
  change->in_hand = true;
  return {*this, *change};
}

// Those in hand stay: there are no more of them than operations.
void ChangeMemory::end(Change& change) {
  const Lock lock(mutex_);
  change.in_hand = false;
  for (auto oldest = changes_.begin(); changes_.size() > kRemembered && oldest != changes_.end();) {
    oldest = oldest->in_hand ? std::next(oldest) : changes_.erase(oldest);
  }
  ended_.notify_all();
}

}  // namespace microvm::agent
