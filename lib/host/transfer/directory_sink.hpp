// A tree out of the guest into a directory of the host. Every step is taken below that directory
// and through no link, so nothing the guest says leads out of it.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "host/session/file_transfer.hpp"

namespace microvm::host {

enum class Owners { mine, kept };

class DirectorySink : public TreeSink {
 public:
  // `name` is the top's, as of top_name().
  static Result<DirectorySink> open(const std::filesystem::path& directory, std::string name,
                                    Owners owners);

  Result<void> begin(const TreeEntry& entry) override;
  Result<void> data(wire::ByteView bytes) override;
  Result<void> hole(uint64_t bytes) override;
  Result<void> end_file() override;
  Result<void> finish();  // gives the last directories their modes
  // The tree comes once more, from its top.
  void begin_again();

  DirectorySink(DirectorySink&&) noexcept = default;
  DirectorySink& operator=(DirectorySink&&) = delete;
  ~DirectorySink() override;  // removes a file that is not whole

 private:
  DirectorySink(base::Fd root, std::string name, Owners owners)
      : root_(std::move(root)), name_(std::move(name)), owners_(owners) {}

  Result<void> enter(const std::string& path);
  Result<void> make_directory(const FileInfo& info);
  Result<void> make_link(const FileInfo& info);
  Result<void> make_hard_link(const std::string& to);
  Result<void> remember_file();
  [[nodiscard]] std::string path_of(const std::string& path) const;
  Result<void> put_in_place();
  Result<void> leave_directory();
  Result<void> set_attributes(int fd, const FileInfo& info, const std::string& path) const;
  [[nodiscard]] base::Failure failed(const std::string& path, int err = errno) const;

  base::Fd root_;
  std::string name_;
  Owners owners_;
  // Those made here and not left yet, from the top down: they are writable until then.
  struct Open {
    std::string path;
    FileInfo info;
  };
  std::vector<Open> made_;
  std::set<std::string> own_;  // all that were made here
  // Files that hard links may come to: none is made to any other.
  std::map<std::string, std::pair<dev_t, ino_t>> linked_;
  // Of the entry at hand.
  std::string path_;
  std::string last_name_;
  base::Fd parent_;
  base::Fd file_;
  TreeEntry entry_;
};

}  // namespace microvm::host
