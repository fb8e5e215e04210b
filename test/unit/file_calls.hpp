// The calls by which this process changes the files below a directory: which, on what, in what
// order. They stand before the C library's, for the whole test program.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace microvm::test {

struct FileCall {
  std::string what;  // write, size, hole, sync, rename, link, lock
  std::string file;  // below the directory, which is itself "."; a random part is "*"
  std::string to;    // of a rename or a link
  uint64_t offset = 0;
};

// One at a time. Of all threads, while it lives.
class FileCalls {
 public:
  explicit FileCalls(std::filesystem::path directory);
  ~FileCalls();
  FileCalls(const FileCalls&) = delete;
  FileCalls& operator=(const FileCalls&) = delete;

  // The `number`th, counted from 1, fails with this errno. Locks are not counted.
  void fail(size_t number, int error);
  // Comes before each call is made; what it does itself is not recorded.
  void before_each(std::function<void(const FileCall&)> look) { look_ = std::move(look); }

  [[nodiscard]] std::vector<FileCall> all() const;
  // "sync saved.json~*", "rename a b"; without locks, and several alike in a row are one.
  [[nodiscard]] std::vector<std::string> list() const;
  // How many there were that could fail.
  [[nodiscard]] size_t count() const;

  // For the calls: the errno that this one fails with, or 0.
  static int on_call(const char* what, int fd, uint64_t offset = 0);
  static int on_call(const char* what, int directory, const char* path, int to_directory,
                     const char* to);

 private:
  int record(FileCall call);
  [[nodiscard]] bool is_below(const std::filesystem::path& path) const;
  [[nodiscard]] std::string name_of(const std::filesystem::path& path) const;

  const std::filesystem::path directory_;
  std::function<void(const FileCall&)> look_;
  mutable std::mutex mutex_;
  std::vector<FileCall> calls_;
  size_t count_ = 0;
  size_t failing_ = 0;
  int error_ = 0;
};

// As one line, for comparing: a failed check shows both.
[[nodiscard]] std::string in_a_row(const std::vector<std::string>& lines);

}  // namespace microvm::test
