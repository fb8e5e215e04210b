// What became of the last changes that the host asked for, by their ids. A host whose connection
// broke, as all do when the guest is suspended, asks once more: what was done already is not done
// again. It is in the agent's memory, and so goes where the files go: into snapshots and forks, and
// back with a rollback.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>

#include "agent/base/failed.hpp"
#include "agent/base/sync.hpp"

namespace microvm::agent {

class ChangeMemory {
  struct Change;

 public:
  static constexpr size_t kRemembered = 64;
  static constexpr size_t kIdBytes = 16;

  // A change in hand. Others that ask for the same one wait for its end.
  class Turn {
   public:
    ~Turn() { memory_.end(change_); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    // What became of it before.
    [[nodiscard]] const std::optional<Outcome<void>>& answer() const { return change_.answer; }
    void answer_with(const Outcome<void>& outcome) { change_.answer = outcome; }
    // How much of its data is where it belongs, over all attempts.
    [[nodiscard]] uint64_t& written_bytes() { return change_.written_bytes; }

   private:
    friend class ChangeMemory;
    Turn(ChangeMemory& memory, Change& change) : memory_(memory), change_(change) {}

    ChangeMemory& memory_;
    Change& change_;
  };

  // Waits while the same change is in hand. `id` has kIdBytes bytes.
  [[nodiscard]] Turn begin(std::span<const std::byte> id);

 private:
  struct Change {
    std::array<std::byte, kIdBytes> id{};
    bool in_hand = true;
    std::optional<Outcome<void>> answer;
    uint64_t written_bytes = 0;
  };

  Change* find(std::span<const std::byte> id);
  Change& add(std::span<const std::byte> id);
  void end(Change& change);

  Mutex mutex_;
  Condition ended_;
  std::list<Change> changes_;  // the oldest first
};

// The bytes of a message's operation_id.
template <class Bytes>
[[nodiscard]] std::span<const std::byte> id_bytes(const Bytes& bytes) {
  return std::as_bytes(std::span(bytes));
}

}  // namespace microvm::agent
