#include "host/image/import_mistakes.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "host/base/printable.hpp"
#include "host/image/archive_reader.hpp"

namespace microvm::host {
namespace {

constexpr size_t kHeadBytes = 36 * 1024;  // the last of the marks below, an ISO's, is at 32 KiB
constexpr int kMaxWrappings = 16;
constexpr size_t kSha256Digits = 64;

// --- files that are no tar

struct Mark {
  size_t offset;
  std::string_view bytes;
  const char* what;
};

constexpr Mark kMarks[] = {
    {0, "PK\x03\x04", "a zip file"},
    {0, "QFI\xfb", "a qcow2 disk image"},
    {0, "hsqs", "a squashfs image"},
    {0, "!<arch>\n", "a Debian package or ar archive"},
    {0, "07070", "a cpio archive"},
    {0,
     "\x7f"
     "ELF",
     "a program"},
    {0, "7z\xbc\xaf", "a 7z archive"},
    {0, "Rar!", "a rar archive"},
    {0x438, "\x53\xef", "an ext4 image"},
    {0x8001, "CD001", "an ISO image"},
    {510, "\x55\xaa", "an image of a disk"},
};

// The beginning of a file, unpacked.
std::string read_head(const base::Fd& fd) {
  std::string head(kHeadBytes, '\0');
  size_t size = 0;
  auto reader = new_raw_reader();
  archive_entry* entry = nullptr;
  const bool opened = ::lseek(fd.get(), 0, SEEK_SET) == 0 && reader &&
                      archive_read_open_fd(reader->get(), fd.get(), kHeadBytes) == ARCHIVE_OK &&
                      archive_read_next_header(reader->get(), &entry) == ARCHIVE_OK;
  while (opened && size < head.size()) {
    const la_ssize_t count =
        archive_read_data(reader->get(), head.data() + size, head.size() - size);
    if (count <= 0) break;
    size += static_cast<size_t>(count);
  }
  head.resize(size);
  return head;
}

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// What a web server sent in place of the file.
const char* name_text(std::string_view head) {
  if (head.starts_with("\xef\xbb\xbf")) head.remove_prefix(3);
  while (!head.empty() && is_blank(head.front())) head.remove_prefix(1);
  if (head.starts_with('<')) return "an HTML or XML page";
  if (head.starts_with('{') || head.starts_with('[')) return "JSON text";
  return nullptr;
}

const char* name_mark(std::string_view head) {
  for (const Mark& mark : kMarks) {
    if (head.size() > mark.offset && head.substr(mark.offset).starts_with(mark.bytes))
      return mark.what;
  }
  return nullptr;
}

base::Failure mistake(const std::string& name, const std::string& what) {
  return base::fail(ErrorCode::corrupt, name + ": " + what);
}

// --- tars of something else

bool has(const FileTree& tree, const Node& directory, std::string_view name, NodeKind kind) {
  const auto found = directory.children.find(name);
  return found != directory.children.end() && tree.node(found->second).kind == kind;
}

bool has_name(const Node& directory, std::string_view name) {
  return directory.children.find(name) != directory.children.end();
}

bool has_programs(const Node& directory) {
  return has_name(directory, "bin") || has_name(directory, "usr");
}

// "SHA", "SHA.json", "SHA.tar.gz", "sha256:SHA": what the tools call layers and configurations.
bool is_called_by_digest(std::string_view name) {
  if (name.starts_with("sha256:")) name.remove_prefix(7);
  const auto is_hex = [](unsigned char c) { return std::isxdigit(c) != 0; };
  return name.size() >= kSha256Digits &&
         std::ranges::all_of(name.substr(0, kSha256Digits), is_hex) &&
         (name.size() == kSha256Digits || name[kSha256Digits] == '.');
}

bool holds_images(const FileTree& tree, const Node& root) {
  if (has_programs(root) || has_name(root, "etc")) return false;
  if (has(tree, root, "blobs", NodeKind::directory) &&
      has(tree, tree.node(root.children.find("blobs")->second), "sha256", NodeKind::directory))
    return true;
  return std::ranges::any_of(root.children,
                             [](const auto& child) { return is_called_by_digest(child.first); });
}

// The directory inside `outer` that goes on: a root file system, or the only one there is.
const std::pair<const std::string, uint32_t>* step_inside(const FileTree& tree, const Node& outer) {
  const std::pair<const std::string, uint32_t>* only = nullptr;
  size_t directories = 0;
  for (const auto& child : outer.children) {
    const Node& node = tree.node(child.second);
    if (node.kind != NodeKind::directory) continue;
    if (has_name(node, "etc") && has_programs(node)) return &child;
    only = ++directories == 1 ? &child : nullptr;
  }
  return only;
}

}  // namespace

base::Failure not_a_tar(const base::Fd& fd, const std::string& name) {
  struct stat info{};
  if (::fstat(fd.get(), &info) == 0 && info.st_size == 0)
    return mistake(name, "is empty: the download or export of it has failed");
  const std::string head = read_head(fd);
  if (head.empty()) return mistake(name, "not a tar, or damaged where it begins");
  if (const char* text = name_text(head))
    return mistake(name, std::string("not a tar but ") + text +
                             ": look at the address it was downloaded from");
  if (const char* what = name_mark(head))
    return mistake(name, std::string("not a tar but ") + what +
                             ": pack the root file system with tar -C DIR -cf FILE .");
  // An empty tar; images of disks begin so, too, and are known by now.
  if (head.find_first_not_of('\0') == std::string::npos) return mistake(name, "holds no files");
  return mistake(name,
                 "not a tar, also not a compressed one: one is made by docker export CONTAINER or "
                 "tar -C DIR -cf FILE .");
}

Result<void> check_no_images(const FileTree& tree, const std::string& name) {
  if (!holds_images(tree, tree.node(FileTree::kRoot))) return {};
  return mistake(name,
                 "holds container images (of docker save, or OCI) and no root file system: make "
                 "one with docker create IMAGE and docker export CONTAINER");
}

Result<void> check_not_wrapped(const FileTree& tree, const std::string& name) {
  const Node* outer = &tree.node(FileTree::kRoot);
  if (has_programs(*outer) || has_name(*outer, "etc")) return {};
  std::string path;
  for (int depth = 1; depth <= kMaxWrappings; ++depth) {
    const auto* inside = step_inside(tree, *outer);
    if (inside == nullptr) return {};
    path += (path.empty() ? "" : "/") + inside->first;
    outer = &tree.node(inside->second);
    if (!has_name(*outer, "etc") || !has_programs(*outer)) continue;
    return mistake(name, "its root file system is inside \"" + printable(path) +
                             "\": unpack it with tar --strip-components=" + std::to_string(depth) +
                             " and pack it again with tar -C DIR -cf FILE .");
  }
  return {};
}

}  // namespace microvm::host
