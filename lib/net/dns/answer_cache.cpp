#include "net/dns/answer_cache.hpp"

namespace microvm::net {
namespace {

constexpr size_t kEntryBytes = 320;  // its nodes in the list and the map

size_t bytes_of(const std::string& key, const DnsAnswer& answer) {
  return kEntryBytes + 2 * key.size() + answer.message.size() +
         answer.ttl_places.size() * sizeof(uint16_t) +
         answer.addresses.size() * sizeof(wire::Ipv6Address);
}

}  // namespace

void AnswerCache::keep(const std::string& key, const DnsAnswer& answer, Time now) {
  const size_t bytes = bytes_of(key, answer);
  if (answer.ttl <= answer.ttl.zero() || answer.is_cut || bytes > limits_.bytes_of_answer) return;
  if (const auto old = places_.find(key); old != places_.end()) forget(old->second);
  entries_.push_back({.key = key, .answer = answer, .since = now, .bytes = bytes});
  places_[key] = std::prev(entries_.end());
  bytes_ += bytes;
  while (bytes_ > limits_.bytes) forget(entries_.begin());
}

AnswerCache::Found AnswerCache::find(const std::string& key, Time now) {
  const auto place = places_.find(key);
  if (place == places_.end()) return {};
  const auto entry = place->second;
  const auto age = std::chrono::duration_cast<std::chrono::seconds>(now - entry->since);
  if (age >= entry->answer.ttl) {
    forget(entry);
    return {};
  }
  entries_.splice(entries_.end(), entries_, entry);
  return {.answer = &entry->answer, .age = age};
}

void AnswerCache::clear() {
  entries_.clear();
  places_.clear();
  bytes_ = 0;
}

void AnswerCache::forget(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  places_.erase(entry->key);
  entries_.erase(entry);
}

}  // namespace microvm::net
