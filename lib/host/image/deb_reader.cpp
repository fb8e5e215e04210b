#include "host/image/deb_reader.hpp"

#include <array>

#include "host/base/printable.hpp"
#include "host/image/archive_reader.hpp"
#include "host/store/files.hpp"

namespace microvm::host {

using base::fail;

namespace {

constexpr size_t kMaxControlBytes = 1u << 20;
constexpr uint64_t kMaxUnpackedPackageBytes = 8ull << 30;

// A tar inside the ar: read through its outer archive, a piece at a time.
class InnerTar {
 public:
  static Result<std::unique_ptr<InnerTar>> open(archive* outer, const std::string& name) {
    auto reader = new_tar_reader();
    if (!reader) return fail(reader.error());
    std::unique_ptr<InnerTar> inner(new InnerTar(outer, std::move(*reader)));
    if (archive_read_open(inner->reader(), inner.get(), nullptr, &InnerTar::read, nullptr) !=
        ARCHIVE_OK)
      return archive_failure(inner->reader(), name);
    return inner;
  }

  [[nodiscard]] archive* reader() const { return reader_.get(); }

 private:
  InnerTar(archive* outer, ArchivePtr reader) : outer_(outer), reader_(std::move(reader)) {}

  static la_ssize_t read(archive* reader, void* self, const void** out) {
    auto* tar = static_cast<InnerTar*>(self);
    *out = tar->chunk_.data();
    const la_ssize_t count = archive_read_data(tar->outer_, tar->chunk_.data(), tar->chunk_.size());
    if (count < 0) archive_set_error(reader, EINVAL, "%s", archive_error_string(tar->outer_));
    return count;
  }

  archive* outer_;
  ArchivePtr reader_;
  std::array<std::byte, 65536> chunk_{};
};

std::string without_dot_slash(const std::string& path) {
  return path.starts_with("./") ? path.substr(2) : path;
}

// The value of "Architecture:" in the control file.
std::string architecture_of(std::string_view control) {
  static constexpr std::string_view kField = "\nArchitecture:";
  std::string text("\n");
  text += control;
  const size_t at = text.find(kField);
  if (at == std::string::npos) return {};
  const size_t begin = text.find_first_not_of(" \t", at + kField.size());
  return begin == std::string::npos ? std::string()
                                    : text.substr(begin, text.find_first_of("\r\n", begin) - begin);
}

base::Failure wrong_architecture(const std::string& name, const std::string& found,
                                 const std::string& needed) {
  return fail(ErrorCode::unsupported, name + ": a package for " + printable(found) +
                                          ", this library needs one for " + needed);
}

Result<void> check_control(archive* tar, const std::string& architecture, const std::string& name,
                           const CallCheck& check) {
  archive_entry* entry = nullptr;
  for (;;) {
    const auto more = next_entry(tar, entry, name);
    if (!more) return fail(more.error());
    if (!*more) return fail(ErrorCode::corrupt, name + ": the package has no control file");
    if (without_dot_slash(entry_path(entry)) != "control") continue;
    const auto control = read_entry(tar, kMaxControlBytes, name, check);
    if (!control) return fail(control.error());
    const auto found =
        architecture_of({reinterpret_cast<const char*>(control->data()), control->size()});
    if (found == architecture || found == "all") return {};
    return wrong_architecture(name, found, architecture);
  }
}

Result<void> visit_data(archive* tar, const DebVisitor& visitor, const std::string& name,
                        const CallCheck& check) {
  archive_entry* entry = nullptr;
  for (;;) {
    if (auto go_on = check(); !go_on) return go_on;
    const auto more = next_entry(tar, entry, name);
    if (!more) return fail(more.error());
    if (!*more) return {};
    if (archive_filter_bytes(tar, 0) > static_cast<la_int64_t>(kMaxUnpackedPackageBytes))
      return fail(ErrorCode::corrupt, name + ": unpacks to more than 8 GiB");
    const auto path = without_dot_slash(entry_path(entry));
    if (archive_entry_filetype(entry) != AE_IFREG || !visitor.wants(path)) continue;
    auto content = read_entry(tar, visitor.max_file_bytes, name, check);
    if (!content) return fail(content.error());
    visitor.take(path, std::move(*content));
  }
}

Result<ArchivePtr> open_ar(const base::Fd& fd, const std::string& name) {
  ArchivePtr reader(archive_read_new());
  if (!reader) return fail(ErrorCode::out_of_memory, "libarchive");
  archive_read_support_format_ar(reader.get());
  if (archive_read_open_fd(reader.get(), fd.get(), 65536) != ARCHIVE_OK)
    return archive_failure(reader.get(), name);
  return reader;
}

}  // namespace

Result<void> read_deb(const std::filesystem::path& deb, const std::string& architecture,
                      const DebVisitor& visitor, const CallCheck& check) {
  const CLocale c_locale;
  const std::string name = deb.string();
  const auto fd = open_regular_file(deb);
  if (!fd) return fail(fd.error());
  const auto outer = open_ar(*fd, name);
  if (!outer) return fail(outer.error());
  bool checked = false;
  archive_entry* entry = nullptr;
  for (;;) {
    const auto more = next_entry(outer->get(), entry, name);
    if (!more) return fail(more.error());
    if (!*more)
      return fail(ErrorCode::corrupt, name + ": truncated, or not a Debian package (no data.tar)");
    const auto member = entry_path(entry);
    const bool is_control = member.starts_with("control.tar");
    if (!is_control && !member.starts_with("data.tar")) continue;
    const auto tar = InnerTar::open(outer->get(), name);
    if (!tar) return fail(tar.error());
    if (!is_control && !checked)
      return fail(ErrorCode::corrupt, name + ": the package has no control file");
    if (!is_control) return visit_data((*tar)->reader(), visitor, name, check);
    if (auto good = check_control((*tar)->reader(), architecture, name, check); !good) return good;
    checked = true;
  }
}

}  // namespace microvm::host
