// Where a follower of a log is, over the lives of the worker.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "host/saved/vm_logs.hpp"
#include "wire/control.hpp"

namespace microvm::host {

class LogCursor {
 public:
  // Of the next byte; 0 while it is not known.
  [[nodiscard]] uint64_t position() const { return position_.value_or(0); }
  [[nodiscard]] bool has_position() const { return position_.has_value(); }
  [[nodiscard]] bool has_begun() const { return position_ || unplaced_ > 0; }

  // Where a stream that was to begin at position() must begin instead: what a killed worker had
  // printed last was not kept, and the positions of the next one begin before.
  [[nodiscard]] std::optional<uint64_t> must_begin_at(const wire::LogsReply& place) const;
  // A worker's stream follows. Empty: it knows of no positions.
  void begin_stream(const std::optional<wire::LogsReply>& place);
  // Its next piece: what of it is new.
  std::string_view pass(std::string_view piece);
  // What is kept of a Vm without a worker: the same.
  std::string pass_rest(const LogText& log);

 private:
  std::optional<uint64_t> position_;
  uint64_t life_ = 0;  // of the worker that said so
  // What a worker without positions gave: the next one gives the end of that once more.
  uint64_t unplaced_ = 0;
  uint64_t skip_ = 0;  // of the stream
};

}  // namespace microvm::host
