#include "net/flow/pipe_stock.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>

namespace microvm::net {
namespace {

constexpr size_t kKept = 16;
// A user without privileges may have 64 MiB of them; beyond it they stay at the usual 64 KiB.
constexpr int kPipeBytes = 256 * 1024;

}  // namespace

Pipe PipeStock::take() {
  if (!pipes_.empty()) {
    Pipe pipe = std::move(pipes_.back());
    pipes_.pop_back();
    return pipe;
  }
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return {};
  static_cast<void>(::fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes));
  return {base::Fd(ends[0]), base::Fd(ends[1])};
}

void PipeStock::give_back(Pipe pipe) {
  if (pipes_.size() < kKept) pipes_.push_back(std::move(pipe));
}

}  // namespace microvm::net
