// libarchive, read-only: ownership, errors, names and bounds in one place.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "host/image/bytes.hpp"

namespace microvm::host {

struct ArchiveFree {
  void operator()(archive* reader) const noexcept { archive_read_free(reader); }
};
using ArchivePtr = std::unique_ptr<archive, ArchiveFree>;

// Names in archives are bytes. libarchive converts them to the thread's locale, so while one is
// read the thread has the C locale, whatever the embedder chose.
class CLocale {
 public:
  CLocale() : locale_(::newlocale(LC_ALL_MASK, "C", nullptr)), before_(::uselocale(locale_)) {}
  CLocale(const CLocale&) = delete;
  CLocale& operator=(const CLocale&) = delete;
  ~CLocale() {
    ::uselocale(before_);
    if (locale_ != nullptr) ::freelocale(locale_);
  }

  // The embedder's again, around a callback of its own.
  class Lifted {
   public:
    explicit Lifted(const CLocale& held) : held_(::uselocale(held.before_)) {}
    Lifted(const Lifted&) = delete;
    Lifted& operator=(const Lifted&) = delete;
    ~Lifted() { ::uselocale(held_); }

   private:
    locale_t held_;
  };

 private:
  locale_t locale_;
  locale_t before_;
};

// A reader for a tar with any compression that is decoded in this process (never by a program that
// libarchive would start).
[[nodiscard]] Result<ArchivePtr> new_tar_reader();
// The same for a file of any kind: one entry with all of it, unpacked.
[[nodiscard]] Result<ArchivePtr> new_raw_reader();

// An opened tar file. `fd` must outlive the reader.
[[nodiscard]] Result<ArchivePtr> open_tar(const base::Fd& fd, const std::string& name);

// True when there is a next entry, false at the end.
[[nodiscard]] Result<bool> next_entry(archive* reader, archive_entry*& entry,
                                      const std::string& name);

// The content of the current entry. Error corrupt when larger than `max_bytes`.
[[nodiscard]] Result<Bytes> read_entry(archive* reader, size_t max_bytes, const std::string& name,
                                       const CallCheck& check);

// "NAME: truncated or damaged (libarchive's words)", or the errno of a failed read.
[[nodiscard]] base::Failure archive_failure(archive* reader, const std::string& name);

// Raw bytes; empty when the entry has none.
[[nodiscard]] std::string entry_path(archive_entry* entry);

}  // namespace microvm::host
