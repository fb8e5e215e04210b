// A file without a name, for code that takes fds.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "wire/bytes.hpp"

namespace microvm::test {

inline base::Fd file_with(wire::ByteView content) {
  base::Fd fd(::memfd_create("test", MFD_CLOEXEC));
  const ssize_t written = ::write(fd.get(), content.data(), content.size());
  return written == static_cast<ssize_t>(content.size()) ? std::move(fd) : base::Fd();
}

}  // namespace microvm::test
