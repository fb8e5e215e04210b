// One row for each format that the library reads from disk: how a valid one is made and read. The
// test goes over all of them and damages each in every place.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "wire/bytes.hpp"

namespace microvm::test {

struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

struct Format {
  std::string name;
  wire::Bytes good;
  // Reads it as the library does, and writes what was read.
  std::function<Result<wire::Bytes>(wire::ByteView)> read;
  // No byte of it can change unnoticed, but for these.
  bool summed = false;
  std::vector<ByteRange> unsummed = {};
  // The same in another version, its sums right; empty: it stands in what has one.
  std::function<wire::Bytes(uint32_t version)> with_version = {};
  uint32_t newest = 0;
  // What the message about an unknown version begins with.
  std::string named = {};
  // The same with something in it that only later versions know and this one passes over.
  wire::Bytes with_more = {};
};

// Files of lib/state and lib/vmm/disk.
std::vector<Format> binary_files();
// Records of a data directory.
std::vector<Format> json_records();
// Bodies of the sections in a state file.
std::vector<Format> section_bodies();

}  // namespace microvm::test
