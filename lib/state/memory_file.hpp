// A memory snapshot in its raw form: a sparse file as long as the guest's memory, where pages of
// zeros are holes. Clones map it private, so it is never changed after it was written.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.hpp"
#include "wire/bytes.hpp"
#include "wire/shape.hpp"

namespace microvm::state {

inline constexpr size_t kPageBytes = 4096;
using wire::kMaxMemoryBytes;

[[nodiscard]] bool is_zero(wire::ByteView bytes) noexcept;

// Makes an empty file `size` bytes long, all hole. Error invalid_argument when it is not empty.
Result<void> make_sparse(int fd, uint64_t size);

// Writes memory into a file made by make_sparse and leaves out the pages that are zero. `offset`
// and the length are multiples of the page size. The bytes written; errors out_of_disk, io.
Result<uint64_t> write_sparse(int fd, uint64_t offset, wire::ByteView memory);

}  // namespace microvm::state
