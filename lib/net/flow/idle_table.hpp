// Pairs that nobody ends: they are forgotten when they have been idle, sooner where nothing was
// answered, and the one that was idle for the longest time makes room for a new one.
#pragma once

#include <array>
#include <chrono>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "net/flow/address.hpp"

namespace microvm::net {

template <class Pair>
class IdleTable {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kUnanswered{30};
  static constexpr std::chrono::seconds kAnswered{180};

  Pair* find(const FlowKey& key) {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &found->second->pair;
  }
  Pair& add(const FlowKey& key, Pair pair, Time now) {
    auto& list = by_age_[0];
    list.push_back({key, std::move(pair), now, 0});
    index_.emplace(key, std::prev(list.end()));
    return list.back().pair;
  }
  // It was used; `answered`: from outside.
  void touch(const FlowKey& key, bool answered, Time now) {
    const auto entry = index_.at(key);
    const size_t from = entry->list;
    if (answered) entry->list = 1;
    entry->used = now;
    auto& to = by_age_[entry->list];
    to.splice(to.end(), by_age_[from], entry);
  }
  std::optional<Pair> take(const FlowKey& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return {};
    const auto entry = found->second;
    index_.erase(found);
    Pair pair = std::move(entry->pair);
    by_age_[entry->list].erase(entry);
    return pair;
  }
  // Those whose time is over.
  [[nodiscard]] std::vector<FlowKey> expired(Time now) const {
    std::vector<FlowKey> keys;
    for (size_t i = 0; i < by_age_.size(); ++i) {
      for (const Entry& entry : by_age_[i]) {
        if (now - entry.used < (i == 0 ? kUnanswered : kAnswered)) break;
        keys.push_back(entry.key);
      }
    }
    return keys;
  }
  // The one that was not used for the longest time, if that is as long as this.
  [[nodiscard]] std::optional<FlowKey> oldest(Time now, std::chrono::seconds idle) const {
    const Entry* oldest = nullptr;
    for (const auto& list : by_age_) {
      if (list.empty()) continue;
      if (oldest == nullptr || list.front().used < oldest->used) oldest = &list.front();
    }
    if (oldest == nullptr || now - oldest->used < idle) return {};
    return oldest->key;
  }
  [[nodiscard]] std::vector<FlowKey> keys() const {
    std::vector<FlowKey> keys;
    for (const auto& [key, entry] : index_) keys.push_back(key);
    return keys;
  }
  [[nodiscard]] bool empty() const { return index_.empty(); }

 private:
  struct Entry {
    FlowKey key;
    Pair pair;
    Time used;
    size_t list;
  };
  using List = std::list<Entry>;
  std::array<List, 2> by_age_;  // unanswered, answered; each used least recently first
  std::unordered_map<FlowKey, typename List::iterator, EndpointHash> index_;
};

}  // namespace microvm::net
