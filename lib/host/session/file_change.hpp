// One change of a guest's files, over as many attempts as suspends of its Vm make of it. The agent
// remembers what became of the last ones by their ids, so that none is done twice.
#pragma once

#include <pb.h>

#include <algorithm>
#include <array>
#include <span>

#include "host/base/random.hpp"
#include "microvm/files.hpp"
#include "wire/bytes.hpp"

namespace microvm::host {

struct FileChange {
  static Result<FileChange> make() {
    FileChange change;
    if (auto filled = fill_random(change.id); !filled) return base::fail(filled.error());
    return change;
  }

  std::array<std::byte, 16> id{};
  bool begun = false;     // the agent may know it
  TransferTotals totals;  // of an upload, once all of it was sent
};

// Into a message's operation_id.
template <class Field>
void set_operation_id(Field& field, const FileChange& change) {
  static_assert(sizeof field.bytes == sizeof change.id);
  field.size = static_cast<pb_size_t>(change.id.size());
  std::ranges::copy(std::as_bytes(std::span(change.id)),
                    std::as_writable_bytes(std::span(field.bytes)).begin());
}

}  // namespace microvm::host
