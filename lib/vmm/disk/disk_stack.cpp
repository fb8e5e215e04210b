#include "vmm/disk/disk_stack.hpp"

#include <cerrno>

#include "base/checked.hpp"

namespace microvm::vmm {
namespace {

uint64_t total_bytes(std::span<const iovec> buffers) {
  uint64_t total = 0;
  for (const iovec& buffer : buffers) {
    total += buffer.iov_len;
  }
  return total;
}

}  // namespace

DiskStack::DiskStack(std::shared_ptr<DiskEngine> engine, sys::Loop& loop)
    : engine_(std::move(engine)), loop_(loop) {}

DiskStack::~DiskStack() {
  engine_->detach();
}

Result<std::unique_ptr<DiskStack>> DiskStack::open(sys::Loop& loop, std::vector<base::Fd> files,
                                                   const DiskOptions& options) {
  auto stack = LayerStack::open(std::move(files), options);
  if (!stack) return base::fail(stack.error());
  auto engine = std::make_shared<DiskEngine>(loop, std::move(*stack));
  return std::unique_ptr<DiskStack>(new DiskStack(std::move(engine), loop));
}

uint32_t DiskStack::granule_bytes() const noexcept {
  const LayerFile* top = engine_->stack().top();
  return top != nullptr ? top->header.granule_bytes : kMinGranuleBytes;
}

bool DiskStack::refuse(uint64_t offset, uint64_t length, bool write, Done& done) {
  int error = 0;
  if (write && read_only()) error = EROFS;
  if (length == 0 || !base::range_fits(offset, length, size_bytes())) error = EINVAL;
  if (error == 0) return false;
  loop_.post([error, done = std::move(done)] { done(error); });
  return true;
}

void DiskStack::read(std::span<const iovec> buffers, uint64_t offset, Done done) {
  const uint64_t length = total_bytes(buffers);
  if (!refuse(offset, length, false, done)) engine_->read(buffers, offset, length, std::move(done));
}

void DiskStack::write(std::span<const iovec> buffers, uint64_t offset, Done done) {
  const uint64_t length = total_bytes(buffers);
  if (!refuse(offset, length, true, done)) engine_->write(buffers, offset, length, std::move(done));
}

void DiskStack::write_zeroes(uint64_t offset, uint64_t length, Done done) {
  if (!refuse(offset, length, true, done)) engine_->write_zeroes(offset, length, std::move(done));
}

void DiskStack::discard(uint64_t offset, uint64_t length, Done done) {
  if (!refuse(offset, length, true, done)) engine_->discard(offset, length, std::move(done));
}

void DiskStack::flush(Done done) {
  engine_->flush(std::move(done));
}

}  // namespace microvm::vmm
