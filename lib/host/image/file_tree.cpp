#include "host/image/file_tree.hpp"

#include <algorithm>

#include "host/base/printable.hpp"
#include "host/image/archive_reader.hpp"

namespace microvm::host {

using base::fail;

namespace {

constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxPathBytes = 4096;
constexpr int kMaxSymlinks = 40;
constexpr uint32_t kMaxNamesOfAFile = 65000;  // EXT4_LINK_MAX

base::Failure bad_entry(std::string_view path, const std::string& problem) {
  return fail(ErrorCode::corrupt, "entry \"" + printable(path) + "\": " + problem);
}

// Names between slashes, "." left out.
std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> names;
  while (!path.empty()) {
    const size_t end = path.find('/');
    const auto name = path.substr(0, end);
    if (!name.empty() && name != ".") names.emplace_back(name);
    if (end == std::string_view::npos) break;
    path.remove_prefix(end + 1);
  }
  return names;
}

// What an entry of a tar may be called. A symlink's target is not held to this.
Result<std::vector<std::string>> split_entry(std::string_view path) {
  if (path.size() > kMaxPathBytes) return bad_entry(path, "the path is too long");
  if (path.find('\0') != std::string_view::npos) return bad_entry(path, "holds a zero byte");
  auto names = split(path);
  for (const auto& name : names) {
    if (name == "..") return bad_entry(path, "leads out of the root with \"..\"");
    if (name.size() > kMaxNameBytes) return bad_entry(path, "a name is longer than 255 bytes");
  }
  return names;
}

}  // namespace

FileTree::FileTree(size_t max_nodes) : max_nodes_(max_nodes) {
  nodes_.emplace_back();
  nodes_[kRoot].names = 1;
}

Result<FileTree::Id> FileTree::new_node(Node node) {
  if (nodes_.size() >= max_nodes_)
    return fail(ErrorCode::invalid_argument,
                "more than " + std::to_string(max_nodes_) +
                    " files; import with a larger disk size to have more inodes");
  nodes_.push_back(std::move(node));
  return static_cast<Id>(nodes_.size() - 1);
}

void FileTree::attach(Id directory, const std::string& name, Id id) {
  nodes_[directory].children[name] = id;
  ++nodes_[id].names;
  if (nodes_[id].kind == NodeKind::directory) nodes_[id].parent = directory;
}

// What hangs below a removed directory is no longer reached by walk(); what it has in common with
// the rest (hard links) keeps a count that walk() corrects.
void FileTree::detach(Id directory, const std::string& name) {
  auto& children = nodes_[directory].children;
  const auto it = children.find(name);
  if (it == children.end()) return;
  --nodes_[it->second].names;
  children.erase(it);
}

// One step of a path walk. A symlink is not entered: its target is put before what is left to walk.
Result<FileTree::Id> FileTree::step(Id directory, std::string_view name, bool make,
                                    int& symlinks_left, std::vector<std::string>& rest) {
  if (name == "..") return nodes_[directory].parent;  // the root's parent is the root
  const auto it = nodes_[directory].children.find(name);
  if (it == nodes_[directory].children.end()) {
    if (!make) return fail(ErrorCode::not_found, "a parent is not there");
    if (name.size() > kMaxNameBytes)
      return fail(ErrorCode::corrupt, "a symlink's name is too long");
    auto made = new_node(Node{});
    if (made) attach(directory, std::string(name), *made);
    return made;
  }
  const Node& found = nodes_[it->second];
  if (found.kind == NodeKind::directory) return it->second;
  if (found.kind != NodeKind::symlink) return fail(ErrorCode::corrupt, "a parent is no directory");
  if (symlinks_left-- == 0) return fail(ErrorCode::corrupt, "too many symbolic links");
  // Kept backwards: the next name is at the end.
  auto target = split(found.target);
  rest.insert(rest.end(), target.rbegin(), target.rend());
  return found.target.starts_with('/') ? kRoot : directory;
}

Result<FileTree::Place> FileTree::place(std::string_view path, bool make_parents) {
  auto names = split_entry(path);
  if (!names) return fail(names.error());
  if (names->empty()) return Place{kRoot, {}};
  Place place{kRoot, std::move(names->back())};
  names->pop_back();
  std::ranges::reverse(*names);
  int symlinks_left = kMaxSymlinks;
  while (!names->empty()) {
    const std::string name = std::move(names->back());
    names->pop_back();
    const auto next = step(place.directory, name, make_parents, symlinks_left, *names);
    if (!next && next.error().code == ErrorCode::invalid_argument) return fail(next.error());
    if (!next) return bad_entry(path, next.error().message);
    place.directory = *next;
  }
  return place;
}

// A directory's new attributes leave its content; anything else takes the name over.
Result<FileTree::Id> FileTree::merge(Id existing, Node node) {
  Node& old = nodes_[existing];
  node.children = std::move(old.children);
  node.parent = old.parent;
  node.names = old.names;
  old = std::move(node);
  return existing;
}

Result<FileTree::Id> FileTree::add(std::string_view path, Node node) {
  const auto where = place(path, /*make_parents=*/true);
  if (!where) return fail(where.error());
  const bool is_directory = node.kind == NodeKind::directory;
  if (where->name.empty()) {
    if (is_directory) return merge(kRoot, std::move(node));
    return bad_entry(path, "is the root, but no directory");
  }
  const auto& children = nodes_[where->directory].children;
  const auto it = children.find(where->name);
  if (it != children.end() && is_directory && nodes_[it->second].kind == NodeKind::directory)
    return merge(it->second, std::move(node));
  auto id = new_node(std::move(node));
  if (!id) return id;
  detach(where->directory, where->name);
  attach(where->directory, where->name, *id);
  return id;
}

Result<FileTree::Id> FileTree::find(std::string_view path) const {
  // Nothing is made, so nothing changes.
  const auto where = const_cast<FileTree*>(this)->place(path, /*make_parents=*/false);
  if (!where) return fail(where.error());
  if (where->name.empty()) return kRoot;
  const auto& children = nodes_[where->directory].children;
  const auto it = children.find(where->name);
  if (it == children.end()) return bad_entry(path, "is not there");
  return it->second;
}

Result<void> FileTree::add_hard_link(std::string_view path, std::string_view target) {
  const auto existing = find(target);
  if (!existing)
    return bad_entry(path, "a hard link to \"" + printable(target) + "\", which is not there");
  if (nodes_[*existing].kind == NodeKind::directory)
    return bad_entry(path, "a hard link to a directory");
  if (nodes_[*existing].names >= kMaxNamesOfAFile) return bad_entry(path, "too many hard links");
  const auto where = place(path, /*make_parents=*/true);
  if (!where) return fail(where.error());
  if (where->name.empty()) return bad_entry(path, "is the root, but no directory");
  const auto& children = nodes_[where->directory].children;
  const auto it = children.find(where->name);
  if (it != children.end() && it->second == *existing) return {};
  detach(where->directory, where->name);
  attach(where->directory, where->name, *existing);
  return {};
}

std::vector<FileTree::Id> FileTree::walk() {
  for (Node& node : nodes_) node.names = 0;
  nodes_[kRoot].names = 1;
  std::vector<Id> order{kRoot};
  for (size_t at = 0; at < order.size(); ++at)
    for (const auto& [name, id] : nodes_[order[at]].children)
      if (nodes_[id].names++ == 0) order.push_back(id);
  return order;
}

}  // namespace microvm::host
