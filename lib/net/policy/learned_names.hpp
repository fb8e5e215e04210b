// By which names the guest knows an address: what the resolver answered to it, as long as that
// counts. Bounded; who asks for very many names loses those that it used least.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "net/policy/address.hpp"

namespace microvm::net {

class LearnedNames {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Limits {
    size_t bytes = size_t{512} * 1024;  // of all, with what the tables take
    size_t names_of_address = 16;       // of servers that many names share, the youngest count
    // Programs look a name up and connect a while later, and some answers count for no time at all.
    std::chrono::seconds shortest{60};
    std::chrono::seconds longest{3600};
  };

  LearnedNames() = default;
  explicit LearnedNames(const Limits& limits) : limits_(limits) {}

  // The name is canonical.
  void learn(const Address& address, std::string_view name, std::chrono::seconds ttl, Time now);
  // The youngest last. They count as used.
  [[nodiscard]] std::vector<std::string> names_of(const Address& address, Time now);

  [[nodiscard]] size_t addresses() const { return places_.size(); }
  [[nodiscard]] size_t bytes() const { return bytes_; }

 private:
  struct Name {
    std::string text;
    Time until;
  };
  struct Entry {
    Address address{};
    std::vector<Name> names;
  };
  using Entries = std::list<Entry>;

  Entry& entry_of(const Address& address);
  void forget(Entry& entry, size_t index);
  void forget_oldest();

  Limits limits_;
  Entries entries_;  // used least recently first
  // Ordered, and no hash: who answers may choose the addresses.
  std::map<Address, Entries::iterator> places_;
  size_t bytes_ = 0;
};

}  // namespace microvm::net
