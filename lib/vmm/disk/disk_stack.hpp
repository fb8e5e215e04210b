// A disk made of a shared read-only base and copy-on-write layers. All I/O is asynchronous and runs
// on the loop's thread; so do the callbacks, and never before the call that started them returns.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "vmm/disk/disk_engine.hpp"
#include "vmm/disk/layer_stack.hpp"

namespace microvm::vmm {

class DiskStack {
 public:
  using Done = DiskEngine::Done;  // 0 or an errno value

  // See LayerStack::open(). `loop` outlives the disk and everything it started.
  static Result<std::unique_ptr<DiskStack>> open(sys::Loop& loop, std::vector<base::Fd> files,
                                                 const DiskOptions& options);
  // What is in flight goes on; its callbacks are not called any more.
  ~DiskStack();
  DiskStack(const DiskStack&) = delete;
  DiskStack& operator=(const DiskStack&) = delete;

  [[nodiscard]] uint64_t size_bytes() const noexcept { return engine_->stack().size_bytes(); }
  [[nodiscard]] bool read_only() const noexcept { return engine_->stack().top() == nullptr; }
  [[nodiscard]] uint32_t granule_bytes() const noexcept;
  [[nodiscard]] size_t in_flight() const noexcept { return engine_->in_flight(); }
  [[nodiscard]] sys::Loop& loop() const noexcept { return loop_; }

  // The memory behind the buffers stays valid until `done`; the list itself need not. Ranges that
  // are empty or reach beyond the disk, and writes to a read-only disk, complete with EINVAL and
  // EROFS. Operations under way at the same time have no order among them.
  void read(std::span<const iovec> buffers, uint64_t offset, Done done);
  void write(std::span<const iovec> buffers, uint64_t offset, Done done);
  void write_zeroes(uint64_t offset, uint64_t length, Done done);
  void discard(uint64_t offset, uint64_t length, Done done);  // contents afterwards: either
  // Makes everything that completed before durable.
  void flush(Done done);

  // A new top layer, in two steps, so that several disks get theirs together or none does. The
  // first may fail, see LayerStack::format_layer(), and changes nothing.
  [[nodiscard]] Result<NewLayer> format_layer(base::Fd file) const {
    return engine_->stack().format_layer(std::move(file));
  }
  // Nothing may be in flight, and the last flush after the last write was a success: the layers
  // below then are whole on the disk and do not change any more.
  void push_layer(NewLayer top) { engine_->push_layer(std::move(top)); }
  // Undoes that, before anything was written to the disk since.
  void pop_layer() { engine_->pop_layer(); }

 private:
  explicit DiskStack(std::shared_ptr<DiskEngine> engine, sys::Loop& loop);
  // 0 when the range is inside the disk and, for writes, the disk takes them; posts the errno else.
  [[nodiscard]] bool refuse(uint64_t offset, uint64_t length, bool write, Done& done);

  std::shared_ptr<DiskEngine> engine_;
  sys::Loop& loop_;
};

}  // namespace microvm::vmm
