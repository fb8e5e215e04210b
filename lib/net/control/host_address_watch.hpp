// The addresses that the host has, as they come and go: rtnetlink(7) tells them without any file.
#pragma once

#include <functional>
#include <memory>
#include <set>

#include "base/fd.hpp"
#include "net/policy/address.hpp"
#include "sys/loop.hpp"

namespace microvm::net {

class HostAddressWatch {
 public:
  using Changed = std::function<void(HostAddresses addresses)>;
  explicit HostAddressWatch(sys::Loop& loop, Changed changed)
      : loop_(loop), changed_(std::move(changed)) {}
  ~HostAddressWatch();
  HostAddressWatch(const HostAddressWatch&) = delete;
  HostAddressWatch& operator=(const HostAddressWatch&) = delete;

  // Tells of those that are there, before it returns, and then of each change.
  Result<void> start();

 private:
  Result<void> ask_for_all();
  // False: nothing is there, or it is all that was asked for.
  bool read_some(bool waits);
  void on_readable();

  sys::Loop& loop_;
  Changed changed_;
  base::Fd socket_;
  sys::Loop::WatchId watch_ = 0;
  std::set<Address> addresses_;
};

}  // namespace microvm::net
