// Pipes, for bytes on their way from one socket to another: a flow that is idle has none.
#pragma once

#include <vector>

#include "base/fd.hpp"

namespace microvm::net {

struct Pipe {
  base::Fd out;  // bytes come out here
  base::Fd in;
};

class PipeStock {
 public:
  // Invalid fds: this process has no room for more.
  [[nodiscard]] Pipe take();
  // An empty one.
  void give_back(Pipe pipe);

 private:
  std::vector<Pipe> pipes_;
};

}  // namespace microvm::net
