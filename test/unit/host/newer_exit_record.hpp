// An exit record as a worker of a later version might leave it: whole, its sum right.
#pragma once

#include "state/crc32c.hpp"
#include "state/exit_record.hpp"

namespace microvm::test {

inline wire::Bytes newer_exit_record() {
  constexpr size_t kMagicBytes = 8;
  constexpr size_t kSumBytes = 4;
  const wire::Bytes known = state::encode_exit_record({});
  const auto rest = wire::ByteView(known).subspan(kMagicBytes + sizeof(uint32_t));
  wire::ByteWriter out;
  out.put_bytes(wire::ByteView(known).first(kMagicBytes));
  out.put(state::kExitRecordVersion + 1);
  out.put_bytes(rest.first(rest.size() - kSumBytes));
  out.put(state::crc32c(out.bytes()));
  return out.take();
}

}  // namespace microvm::test
