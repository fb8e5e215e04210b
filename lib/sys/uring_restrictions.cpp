#include "sys/uring_restrictions.hpp"

#include <array>

namespace microvm::sys {
namespace {

constexpr io_uring_restriction allow(uint8_t operation) {
  io_uring_restriction restriction{};
  restriction.opcode = IORING_RESTRICTION_SQE_OP;
  restriction.sqe_op = operation;
  return restriction;
}

// No flag of a request (links, fixed files, provided buffers) is allowed, for none is listed.
constexpr std::array kAllowed = {
    allow(IORING_OP_READ),         allow(IORING_OP_READV), allow(IORING_OP_WRITE),
    allow(IORING_OP_WRITEV),       allow(IORING_OP_FSYNC), allow(IORING_OP_POLL_ADD),
    allow(IORING_OP_ASYNC_CANCEL),
};

}  // namespace

bool restrict_ring(io_uring& ring) {
  auto restrictions = kAllowed;  // liburing takes no const
  return io_uring_register_restrictions(&ring, restrictions.data(), restrictions.size()) == 0;
}

}  // namespace microvm::sys
