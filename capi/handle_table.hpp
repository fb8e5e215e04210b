// The objects behind handles. A handle is a number that looks like a pointer and points nowhere:
//   kind (8 bits) | slot (24) | generation of the slot (32)
// so that a stale, foreign or invented one is found out without touching memory that may be gone.
//
// One table for the process, as a handle says nothing of where it belongs: the only state of the
// library outside a Runtime. It needs no construction and no destruction, so that calls work before
// main() and while the process exits. All of it is atomics: no call waits for another one, and what
// is needed for firing a cancel token may run in a signal handler.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

namespace microvm::capi {

enum class Kind : uint8_t {
  none,
  runtime,
  vm,
  vm_start,
  exec,
  pty,
  watch,
  log_stream,
  event_stream,
  keep_awake,
  cancel,
  flow_stream,
};

using Handle = uint64_t;  // 0: none

class HandleTable {
 public:
  using Destroy = void (*)(void* object);
  static constexpr uint32_t kSegmentSlots = 1024;
  static constexpr uint32_t kSegments = 1024;
  static constexpr uint32_t kMaxHandles = kSegmentSlots * kSegments;

  constexpr HandleTable() = default;
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;

  // A place that no handle leads to yet; empty when all are taken. Throws std::bad_alloc.
  std::optional<uint32_t> reserve();
  void give_back(uint32_t slot) noexcept;  // a reserved one
  // From now on the object is the table's, in the place that was reserved for it.
  Handle publish(uint32_t slot, Kind kind, void* object, Destroy destroy) noexcept;

  // The object, which then stays until release(); nullptr for what is no handle of that kind (any
  // more). In signal handlers too.
  void* acquire(Handle handle, Kind kind) noexcept;
  void release(Handle handle) noexcept;
  // For a signal handler: what would be destroyed now is destroyed by a later call of another kind.
  void release_in_signal(Handle handle) noexcept;

  // Ends the handle, and its object as soon as nobody holds it. False: it was none.
  bool close(Handle handle, Kind kind) noexcept;

 private:
  struct Slot {
    std::atomic<uint64_t> word{0};  // generation | open (1 bit) | holders (31)
    std::atomic<uint32_t> next{0};  // in a list of slots: number + 1
    Kind kind = Kind::none;         // these three: set by publish() before `word`
    void* object = nullptr;
    Destroy destroy = nullptr;
  };
  using Segment = std::array<Slot, kSegmentSlots>;

  [[nodiscard]] Slot* find(Handle handle) const noexcept;
  [[nodiscard]] Slot& at(uint32_t slot) noexcept;
  Segment& segment(uint32_t number);
  std::optional<uint32_t> take_free() noexcept;
  std::optional<uint32_t> take_unused() noexcept;
  void push(std::atomic<uint64_t>& list, uint32_t slot) noexcept;
  bool let_go(Slot& slot) noexcept;
  void destroy_object(uint32_t slot) noexcept;
  void destroy_abandoned() noexcept;

  Segment first_{};  // of few handles, which is usual, nothing is left behind by a dlclose()
  std::array<std::atomic<Segment*>, kSegments> segments_{};
  std::atomic<uint32_t> used_{0};       // slots that were ever handed out
  std::atomic<uint64_t> free_{0};       // a list: how often it changed | first slot + 1
  std::atomic<uint64_t> abandoned_{0};  // likewise, of what release_in_signal() left
};

static_assert(std::atomic<uint64_t>::is_always_lock_free, "signal handlers use it");

HandleTable& handle_table() noexcept;

}  // namespace microvm::capi
