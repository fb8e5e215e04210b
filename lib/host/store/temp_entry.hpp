// An entry of the store while it is written: a directory under tmp/ that belongs to this process.
// It becomes visible by one rename (Store::commit_*) or is removed by the destructor; what a dead
// process left is collected by the next Store::open.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::host {

class TempEntry {
 public:
  TempEntry(TempEntry&& other) noexcept;
  TempEntry& operator=(TempEntry&& other) noexcept;
  ~TempEntry();

  // The directory that will be the entry. Files put there by other means are committed as well.
  [[nodiscard]] std::filesystem::path dir() const { return holder_ / "entry"; }

  // A new file, read-write, mode 0600. Synced by commit.
  [[nodiscard]] Result<base::Fd> create_file(const std::string& name) const;
  [[nodiscard]] Result<void> write_file(const std::string& name,
                                        std::span<const std::byte> bytes) const;
  [[nodiscard]] Result<void> write_file(const std::string& name, std::string_view text) const {
    return write_file(name, std::as_bytes(std::span(text)));
  }
  // A second name for an immutable file of another entry: costs no space.
  [[nodiscard]] Result<void> link_file(const std::filesystem::path& from,
                                       const std::string& name) const;

 private:
  friend class Store;
  static Result<TempEntry> create(const std::filesystem::path& tmp_dir);
  // What processes that are gone left there. Names are random and never used again, so they can be
  // removed without a lock. Safe against concurrent create() and removal by any process.
  static Result<std::vector<std::filesystem::path>> leftovers(const std::filesystem::path& tmp_dir);
  // Syncs every file and the directory itself.
  [[nodiscard]] Result<void> sync() const;

  TempEntry(std::filesystem::path holder, base::Fd owner)
      : holder_(std::move(holder)), owner_(std::move(owner)) {}
  void remove() noexcept;

  std::filesystem::path holder_;  // tmp/<random>/: "owner" (flock held while we live) and "entry/"
  base::Fd owner_;
};

}  // namespace microvm::host
