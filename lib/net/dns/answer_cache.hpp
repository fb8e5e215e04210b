// Answers as long as they count, those that there is nothing too. Bounded in bytes; what was used
// least recently goes first.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <string>

#include "net/dns/dns_message.hpp"

namespace microvm::net {

class AnswerCache {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Limits {
    size_t bytes = size_t{256} * 1024;
    size_t bytes_of_answer = size_t{8} * 1024;  // of one; longer ones are not kept
  };
  struct Found {
    const DnsAnswer* answer = nullptr;  // until the next call
    std::chrono::seconds age{0};
  };

  AnswerCache() = default;
  explicit AnswerCache(const Limits& limits) : limits_(limits) {}

  void keep(const std::string& key, const DnsAnswer& answer, Time now);
  [[nodiscard]] Found find(const std::string& key, Time now);
  void clear();
  [[nodiscard]] size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string key;
    DnsAnswer answer;
    Time since;
    size_t bytes = 0;
  };
  using Entries = std::list<Entry>;

  void forget(Entries::iterator entry);

  Limits limits_;
  Entries entries_;  // used least recently first
  std::map<std::string, Entries::iterator> places_;
  size_t bytes_ = 0;
};

}  // namespace microvm::net
