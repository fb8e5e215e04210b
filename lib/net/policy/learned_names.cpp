#include "net/policy/learned_names.hpp"

#include <algorithm>

namespace microvm::net {
namespace {

constexpr size_t kEntryBytes = 160;  // its nodes in the list and the map
constexpr size_t kNameBytes = 48;    // beside its text

size_t bytes_of(const std::string& name) {
  return kNameBytes + name.size();
}

}  // namespace

void LearnedNames::learn(const Address& address, std::string_view name, std::chrono::seconds ttl,
                         Time now) {
  Entry& entry = entry_of(address);
  Time until = now + std::clamp(ttl, limits_.shortest, limits_.longest);
  for (size_t i = 0; i < entry.names.size(); ++i) {
    if (entry.names[i].text != name) continue;
    until = std::max(until, entry.names[i].until);
    forget(entry, i);
    break;
  }
  if (entry.names.size() >= limits_.names_of_address) forget(entry, 0);
  entry.names.push_back({.text = std::string(name), .until = until});
  bytes_ += bytes_of(entry.names.back().text);
  while (bytes_ > limits_.bytes && entries_.size() > 1) forget_oldest();
}

std::vector<std::string> LearnedNames::names_of(const Address& address, Time now) {
  if (!places_.contains(address)) return {};
  Entry& entry = entry_of(address);
  for (size_t i = entry.names.size(); i > 0; --i) {
    if (entry.names[i - 1].until <= now) forget(entry, i - 1);
  }
  std::vector<std::string> names;
  for (const Name& name : entry.names) names.push_back(name.text);
  return names;
}

// Moved to those that were used last.
LearnedNames::Entry& LearnedNames::entry_of(const Address& address) {
  const auto [place, is_new] = places_.try_emplace(address);
  if (is_new) {
    place->second = entries_.insert(entries_.end(), Entry{.address = address, .names = {}});
    bytes_ += kEntryBytes;
  } else {
    entries_.splice(entries_.end(), entries_, place->second);
  }
  return *place->second;
}

void LearnedNames::forget(Entry& entry, size_t index) {
  bytes_ -= bytes_of(entry.names[index].text);
  entry.names.erase(entry.names.begin() + static_cast<ptrdiff_t>(index));
}

void LearnedNames::forget_oldest() {
  Entry& entry = entries_.front();
  while (!entry.names.empty()) forget(entry, entry.names.size() - 1);
  places_.erase(entry.address);
  entries_.pop_front();
  bytes_ -= kEntryBytes;
}

}  // namespace microvm::net
