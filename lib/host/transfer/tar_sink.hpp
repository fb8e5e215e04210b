// A tree out of the guest as a tar.
#pragma once

#include <optional>

#include "host/image/archive_reader.hpp"
#include "host/session/file_transfer.hpp"

namespace microvm::host {

struct ArchiveWriteFree {
  void operator()(archive* writer) const noexcept {
    // Without this, freeing would go on writing to the sink.
    archive_write_fail(writer);
    archive_write_free(writer);
  }
};

// One thread, on which it also ends: it changes the thread's locale meanwhile.
class TarSink : public TreeSink {
 public:
  // `out` must outlive it; `name` is the top's, as of top_name().
  TarSink(const DataSink& out, std::string name);
  Result<void> open();

  Result<void> begin(const TreeEntry& entry) override;
  Result<void> data(wire::ByteView bytes) override;
  Result<void> hole(uint64_t bytes) override;
  Result<void> end_file() override { return {}; }
  Result<void> finish();

 private:
  static la_ssize_t write(archive* writer, void* self, const void* bytes, size_t size);
  Result<void> check(la_ssize_t result);
  [[nodiscard]] std::string path_of(const std::string& path) const;

  const CLocale c_locale_;
  const DataSink& out_;
  const std::string name_;
  std::unique_ptr<archive, ArchiveWriteFree> writer_;
  std::optional<Error> failed_;  // by the sink
};

}  // namespace microvm::host
