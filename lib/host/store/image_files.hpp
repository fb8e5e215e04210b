// Everything of the store that a start from an image reads, open and checked.
#pragma once

#include <string>
#include <vector>

#include "host/base/limits.hpp"
#include "host/store/store.hpp"

namespace microvm::host {

struct ImageFiles {
  ImageEntry image;
  BaseEntry base;
  base::Fd memory;
  base::Fd state;
  base::Fd working_set;          // if the image has one
  std::vector<base::Fd> layers;  // the base's disk first
  base::Fd modules_disk;         // if the image has one
};

// Errors: not_found, corrupt, busy (the image is packed), cancelled, deadline_exceeded.
Result<ImageFiles> open_image_files(const Store& store, const std::string& reference,
                                    const Limits& limits);

}  // namespace microvm::host
