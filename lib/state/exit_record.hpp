// How a Vm ended, as its worker leaves it on disk for whoever looks later:
//   magic "MVM-EXIT", u32 version, u32 length of the body, body, u32 crc32c of all that
// all little-endian, the body an object in the growing form (wire/fields.hpp). Version 1 was an
// ExitEvent as version 1 of the control wire says it, and is still read. What follows a record was
// left by a longer one.
#pragma once

#include "base/error.hpp"
#include "wire/control.hpp"

namespace microvm::state {

inline constexpr uint32_t kExitRecordVersion = 2;
inline constexpr size_t kMaxExitRecordBytes = 16 * 1024;

[[nodiscard]] wire::Bytes encode_exit_record(const wire::ExitEvent& exit);

// Errors: corrupt (nothing, or nothing whole, was written), unsupported (a newer version).
[[nodiscard]] Result<wire::ExitEvent> decode_exit_record(wire::ByteView bytes);

}  // namespace microvm::state
