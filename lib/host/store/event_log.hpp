// events.jsonl of a data directory: one line per event, appended by every process that has it open;
// at one megabyte it becomes events.jsonl.1.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "microvm/event.hpp"

namespace microvm::host {

// The name of the older file begins with it too.
inline constexpr const char* kEventsFile = "events.jsonl";

// Best effort: an event that cannot be written is lost, what it tells of has happened.
void append_event(const std::filesystem::path& data_dir, const VmEvent& event);

// What is there, oldest first, and what comes, over the change of files. Lines that are none of
// ours are passed over. It never waits; one thread at a time.
class EventReader {
 public:
  // Without `follow` it ends with what is there.
  static Result<EventReader> open(const std::filesystem::path& data_dir, bool follow);

  struct Found {
    std::optional<VmEvent> event;
    bool at_end = false;  // nothing more is there now; false without an event: go on
  };
  // Looks at 64 KiB at most, however little of that is events.
  Result<Found> next();

 private:
  static constexpr size_t kPieceBytes = 16 * 1024;
  static constexpr int kPiecesAtOnce = 4;

  // Keeps the beginning of a line that is not whole yet.
  class File {
   public:
    static Result<std::optional<File>> open(const std::filesystem::path& path);
    // Of the whole lines that were read.
    std::optional<VmEvent> take_event();
    // One piece, once the events of the last one are taken. False: nothing more now.
    Result<bool> read();
    [[nodiscard]] bool is(const std::filesystem::path& path) const;

   private:
    explicit File(base::Fd fd) : fd_(std::move(fd)) {}
    base::Fd fd_;
    std::string text_;
    size_t taken_ = 0;  // of the text
  };

  EventReader(std::filesystem::path data_dir, bool follow)
      : data_dir_(std::move(data_dir)), follow_(follow) {}
  Result<bool> read_piece();
  Result<bool> move_on();

  std::filesystem::path data_dir_;
  bool follow_;
  std::optional<File> before_;
  std::optional<File> now_;
};

}  // namespace microvm::host
