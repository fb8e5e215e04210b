#include "host/store/file_record.hpp"

#include <fcntl.h>

#include "host/store/digest.hpp"
#include "host/store/files.hpp"

namespace microvm::host {

Result<FileRecord> record_of(const std::filesystem::path& dir, const std::string& file,
                             const CallCheck& check) {
  const auto fd = open_file(dir / file, O_RDONLY | O_NOFOLLOW);
  if (!fd) return base::fail(fd.error());
  const auto digest = digest_sparse_file(fd->get(), (dir / file).string(), check);
  if (!digest) return base::fail(digest.error());
  return FileRecord{file, digest->size_bytes, digest->data_bytes, digest->sha256};
}

}  // namespace microvm::host
