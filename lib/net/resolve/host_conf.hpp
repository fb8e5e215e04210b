// The host's resolver configuration, which may change at any time. Files are the starter's affair:
// it is asked for the file anew, when there are questions and it was not asked just now.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/fd.hpp"
#include "net/dns/resolv_conf.hpp"
#include "sys/loop.hpp"

namespace microvm::net {

// By a process that is not locked down yet.
[[nodiscard]] ResolvConf read_resolv_conf(const std::string& path);

class HostConf {
 public:
  using Changed = std::function<void(const ResolvConf& conf)>;
  // `starter`: see wire::StarterRequest.
  HostConf(sys::Loop& loop, base::Fd starter, ResolvConf known, Changed changed);
  ~HostConf();
  HostConf(const HostConf&) = delete;
  HostConf& operator=(const HostConf&) = delete;

  void look_again();

 private:
  void receive();
  void take_file(int fd);
  void close();

  sys::Loop& loop_;
  base::Fd starter_;  // none: it is gone, and what is known stays
  ResolvConf known_;
  Changed changed_;
  sys::Loop::WatchId watch_ = 0;
  std::chrono::steady_clock::time_point asked_at_{};
};

}  // namespace microvm::net
