#include "host/session/collect_output.hpp"

#include <poll.h>

#include <algorithm>
#include <span>

namespace microvm::host {
namespace {

void append_bounded(std::string& to, const std::vector<std::byte>& data, size_t max_bytes) {
  const size_t take = std::min(data.size(), max_bytes - std::min(max_bytes, to.size()));
  to.append(reinterpret_cast<const char*>(data.data()), take);
}

struct CollectInput {
  std::span<const std::byte> rest;
  bool is_over = false;  // all of it and the end were given, or nobody takes them any more

  // What goes without waiting. Why nobody takes it, who reads learns as well.
  void give(Exec& program) {
    while (!is_over) {
      const auto taken = rest.empty() ? program.try_close_stdin().map([] { return size_t{0}; })
                                      : program.try_write_stdin(rest);
      if (!taken && taken.error().code == ErrorCode::would_block) return;
      is_over = !taken || rest.empty();
      if (taken) rest = rest.subspan(*taken);
    }
  }
};

Result<std::optional<ExecOutput>> give_and_read(Exec& program, CollectInput& input,
                                                const Limits& limits) {
  for (;;) {
    input.give(program);
    if (input.is_over) return program.read(limits.rest());
    auto output = program.try_read();
    if (output || output.error().code != ErrorCode::would_block) return output;
    if (auto ready = limits.wait(program.fd(), POLLIN | POLLOUT, "exec"); !ready) {
      return base::fail(ready.error());
    }
  }
}

}  // namespace

Result<ExecResult> collect_output(Exec& program, const CollectOptions& options,
                                  const Limits& limits) {
  CollectInput input{.rest = std::as_bytes(std::span(options.input)),
                     .is_over = options.input.empty()};
  ExecResult result;
  for (;;) {
    // What is left is never nothing, and a program that never stops talking is never waited for.
    if (auto ok = limits.check("exec"); !ok) return base::fail(ok.error());
    const auto output = give_and_read(program, input, limits);
    if (!output) return base::fail(output.error());
    if (!*output) break;
    const bool out = (*output)->stream == ExecOutput::Stream::out;
    append_bounded(out ? result.out : result.err, (*output)->data, options.max_bytes);
  }
  const auto status = program.wait(limits.rest());
  if (!status) return base::fail(status.error());
  result.status = *status;
  return result;
}

}  // namespace microvm::host
