#include "vmm/disk/disk_engine.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vmm/disk/buffer_cursor.hpp"

namespace microvm::vmm {
namespace {

void fill_with_zeros(std::span<const iovec> buffers) {
  for (const iovec& buffer : buffers) {
    std::memset(buffer.iov_base, 0, buffer.iov_len);
  }
}

}  // namespace

DiskEngine::DiskEngine(sys::Loop& loop, LayerStack stack)
    : loop_(loop),
      stack_(std::move(stack)),
      top_(stack_.top()),
      granule_bytes_(top_ != nullptr ? top_->header.granule_bytes : kMinGranuleBytes) {}

DiskOp& DiskEngine::start(Done done, uint64_t offset, uint64_t length) {
  if (free_ops_.empty()) free_ops_.push_back(ops_.emplace_back(std::make_unique<DiskOp>()).get());
  DiskOp& op = *free_ops_.back();
  free_ops_.pop_back();
  op.engine = shared_from_this();
  op.done = std::move(done);
  op.pending = 0;
  op.error = 0;
  op.offset = offset;
  op.length = length;
  op.buffers.clear();
  ++in_flight_;
  return op;
}

// The new layer has the granules of the one it covers, so what is computed from them stays right.
void DiskEngine::push_layer(NewLayer top) {
  stack_.push(std::move(top));
  top_ = stack_.top();
}

void DiskEngine::pop_layer() {
  stack_.pop();
  top_ = stack_.top();
}

// For what is done at once: the caller hears of it only after its call has returned.
void DiskEngine::post_complete(DiskOp& op, int error) {
  op.error = error;
  loop_.post([&op] { op.engine->complete(op); });
}

void DiskEngine::complete(DiskOp& op) {
  const std::shared_ptr<DiskEngine> keep = std::move(op.engine);  // perhaps the last one
  const Done done = std::move(op.done);
  op.done = nullptr;
  op.edges.reset();
  const int error = op.error;
  free_ops_.push_back(&op);
  --in_flight_;
  if (attached_) done(error);
}

// A short count means that a file ended before its size: somebody truncated it.
void DiskEngine::piece_done(DiskOp& op, int64_t result, uint64_t expected) {
  if (op.error == 0 && result < 0) op.error = static_cast<int>(-result);
  if (op.error == 0 && static_cast<uint64_t>(result) != expected) op.error = EIO;
  step(op);
}

void DiskEngine::step(DiskOp& op) {
  if (--op.pending == 0) (this->*op.next)(op);
}

void DiskEngine::read(std::span<const iovec> buffers, uint64_t offset, uint64_t length, Done done) {
  DiskOp& op = start(std::move(done), offset, length);
  op.next = &DiskEngine::complete;
  Cursor from(buffers);
  read_range(op, from, offset, length);
  if (op.pending == 0) post_complete(op, 0);
}

// Starts one read per piece of the range; `op.pending` counts them.
void DiskEngine::read_range(DiskOp& op, Cursor& into, uint64_t offset, uint64_t length) {
  segments_.clear();
  stack_.map(offset, length, segments_);
  for (const Segment& piece : segments_) {
    slice_.clear();
    into.take(piece.length, slice_);
    if (piece.fd < 0) {
      fill_with_zeros(slice_);
      continue;
    }
    ++op.pending;
    loop_.read_file(piece.fd, slice_, piece.file_offset,
                    [&op, expected = piece.length](int64_t result) {
                      op.engine->piece_done(op, result, expected);
                    });
  }
}

}  // namespace microvm::vmm
