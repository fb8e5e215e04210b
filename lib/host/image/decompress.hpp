// Unpacks what kernels and modules are compressed with.
#pragma once

#include <string>

#include "base/error.hpp"
#include "host/image/bytes.hpp"

namespace microvm::host {

// More than any kernel or module; a small file that unpacks to more is an attack.
inline constexpr size_t kMaxUnpackedBytes = 256u << 20;

enum class Compression { none, gzip, xz, zstd, lz4_legacy, not_supported };
[[nodiscard]] Compression detect_compression(ByteSpan bytes) noexcept;

// One stream; what follows it (a kernel appends its unpacked size) is ignored. `name` stands in
// messages. Errors: corrupt, unsupported, out_of_memory.
[[nodiscard]] Result<Bytes> decompress(ByteSpan packed, const std::string& name,
                                       size_t max_bytes = kMaxUnpackedBytes);

}  // namespace microvm::host
