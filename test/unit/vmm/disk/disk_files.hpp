// Disk files for tests: real files in a directory of their own, opened as a worker gets them, and a
// disk on them whose calls wait.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "host/temp_dir.hpp"
#include "sys/loop.hpp"
#include "vmm/disk/disk_stack.hpp"

namespace microvm::test {

using Data = std::vector<std::byte>;

inline Data pattern(size_t size, unsigned seed) {
  Data data(size);
  uint32_t state = seed * 2654435761u + 1;
  for (std::byte& byte : data) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::byte>(state >> 24);
  }
  return data;
}

class DiskFiles {
 public:
  [[nodiscard]] std::string path(const std::string& name) const { return dir_ / name; }

  void write_file(const std::string& name, const Data& data) const {
    std::ofstream(path(name), std::ios::binary | std::ios::trunc)
        .write(reinterpret_cast<const char*>(data.data()),
               static_cast<std::streamsize>(data.size()));
  }
  [[nodiscard]] Data read_file(const std::string& name) const {
    std::ifstream in(path(name), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    const auto bytes = wire::as_bytes(text);
    return {bytes.begin(), bytes.end()};
  }
  void copy(const std::string& from, const std::string& to) const {
    write_file(to, read_file(from));
  }
  [[nodiscard]] uint64_t allocated_bytes(const std::string& name) const {
    struct stat info{};
    if (::stat(path(name).c_str(), &info) != 0) std::abort();
    return static_cast<uint64_t>(info.st_blocks) * 512;
  }
  [[nodiscard]] base::Fd open(const std::string& name, int flags) const {
    return base::Fd(::open(path(name).c_str(), flags | O_CREAT | O_CLOEXEC, 0600));
  }
  // All read-only but the last.
  [[nodiscard]] std::vector<base::Fd> open_all(const std::vector<std::string>& names,
                                               bool read_only = false) const {
    std::vector<base::Fd> fds;
    fds.reserve(names.size());
    for (size_t i = 0; i < names.size(); ++i) {
      fds.push_back(open(names[i], i + 1 < names.size() || read_only ? O_RDONLY : O_RDWR));
    }
    return fds;
  }

 private:
  TempDir dir_;
};

// A disk whose operations wait for their end.
class BlockingDisk {
 public:
  BlockingDisk(sys::Loop& loop, std::unique_ptr<vmm::DiskStack> opened)
      : disk(std::move(opened)), loop_(loop) {}

  int write(uint64_t offset, const Data& data) {
    const iovec buffer{const_cast<std::byte*>(data.data()), data.size()};
    return wait([&](auto done) { disk->write({&buffer, 1}, offset, done); });
  }
  Data read(uint64_t offset, size_t size) {
    Data data(size, std::byte{0xaa});
    const iovec buffer{data.data(), data.size()};
    const int error = wait([&](auto done) { disk->read({&buffer, 1}, offset, done); });
    return error == 0 ? data : Data{};
  }
  int flush() {
    return wait([&](auto done) { disk->flush(done); });
  }
  int write_zeroes(uint64_t offset, uint64_t length) {
    return wait([&](auto done) { disk->write_zeroes(offset, length, done); });
  }
  int discard(uint64_t offset, uint64_t length) {
    return wait([&](auto done) { disk->discard(offset, length, done); });
  }

  std::unique_ptr<vmm::DiskStack> disk;

 private:
  template <class Start>
  int wait(Start start) {
    std::optional<int> result;
    start([&result](int error) { result = error; });
    while (!result) {
      loop_.run_once(std::chrono::milliseconds(100));
    }
    return *result;
  }
  sys::Loop& loop_;
};

// Writes and zeroes at random places. 0, or the errno of the first that failed.
inline int scribble(BlockingDisk& disk, size_t disk_bytes, unsigned seed) {
  std::mt19937 random(seed);
  for (int i = 0; i < 40; ++i) {
    const size_t length = (1 + random() % 50) * 512;
    const uint64_t offset = random() % ((disk_bytes - length) / 512) * 512;
    const int error = i % 5 == 0
                          ? disk.write_zeroes(offset, length)
                          : disk.write(offset, pattern(length, static_cast<unsigned>(random())));
    if (error != 0) return error;
  }
  return 0;
}

inline std::optional<BlockingDisk> open_disk(sys::Loop& loop, const DiskFiles& files,
                                             const std::vector<std::string>& names,
                                             const vmm::DiskOptions& options = {}) {
  auto disk = vmm::DiskStack::open(loop, files.open_all(names, options.read_only), options);
  if (!disk) return std::nullopt;
  return BlockingDisk(loop, std::move(*disk));
}

}  // namespace microvm::test
