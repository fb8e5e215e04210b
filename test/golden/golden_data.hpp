// The data directory that an older version made (README.md), unpacked for one test.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/fd.hpp"
#include "host/image/archive_reader.hpp"
#include "host/store/store.hpp"
#include "host/store/temp_entry.hpp"

namespace microvm::test {

class GoldenData {
 public:
  explicit GoldenData(const std::string& version) : dir_(make_dir()) {
    const std::filesystem::path archive =
        std::filesystem::path(MICROVM_GOLDEN_PATH) / version / "data.tar.zst";
    const base::Fd file(::open(archive.c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE_MESSAGE(file.valid(), archive.string());
    const host::CLocale bytes;
    const auto reader = host::open_tar(file, archive.string());
    REQUIRE(reader);
    archive_entry* entry = nullptr;
    for (;;) {
      const auto more = host::next_entry(reader->get(), entry, archive.string());
      REQUIRE(more);
      if (!*more) break;
      extract(reader->get(), entry);
    }
  }
  GoldenData(const GoldenData&) = delete;
  GoldenData& operator=(const GoldenData&) = delete;
  ~GoldenData() {
    std::error_code ec;
    std::filesystem::remove_all(dir_, ec);
  }

  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }
  [[nodiscard]] host::Store store() const {
    auto store = host::Store::open(dir_);
    REQUIRE(store);
    return std::move(*store);
  }

 private:
  static std::filesystem::path make_dir() {
    std::string name = (std::filesystem::temp_directory_path() / "golden-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    return name;
  }

  void extract(archive* reader, archive_entry* entry) const {
    archive_entry_set_pathname(entry, (dir_ / archive_entry_pathname(entry)).c_str());
    if (const char* target = archive_entry_hardlink(entry)) {
      archive_entry_set_hardlink(entry, (dir_ / target).c_str());
    }
    REQUIRE(archive_read_extract(reader, entry, ARCHIVE_EXTRACT_TIME) == ARCHIVE_OK);
  }

  std::filesystem::path dir_;
};

}  // namespace microvm::test
