// A checkpoint: memory, disk and devices of a running Vm at one moment, kept until it is removed.
#pragma once

#include <cstdint>
#include <string>

#include "microvm/error.hpp"

namespace microvm {

struct CheckpointOptions {
  std::string name;  // empty: none; unique in the Runtime, usable instead of the id
};

struct CheckpointInfo {
  std::string id;       // 12 hex digits
  std::string name;     // empty: none; unique in the Runtime, usable instead of the id
  std::string vm_id;    // the Vm it was taken of, which need not exist any more
  std::string image;    // "name:version" that Vm runs from
  std::string created;  // RFC 3339, UTC
  uint64_t memory_bytes = 0;
  uint32_t vcpus = 0;
  uint64_t stored_bytes = 0;  // on the disk, parts it shares with its Vm and others included
};

}  // namespace microvm
