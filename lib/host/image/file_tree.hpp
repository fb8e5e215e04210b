// A root file system in memory, merged from the entries of a tar: everything but the files' data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace microvm::host {

enum class NodeKind { directory, file, symlink, character_device, block_device, fifo, socket };

// A run of a file's blocks on the disk.
struct BlockRun {
  uint32_t logical = 0;
  uint32_t count = 0;
  uint64_t physical = 0;
};

struct Node {
  NodeKind kind = NodeKind::directory;
  uint16_t permissions = 0755;  // with set-id and sticky bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_s = 0;
  uint32_t mtime_ns = 0;
  uint32_t names = 0;                                       // directory entries that lead here
  uint32_t device_major = 0;                                // devices
  uint32_t device_minor = 0;                                //
  std::string target;                                       // symlinks
  uint64_t size_bytes = 0;                                  // files
  std::vector<BlockRun> blocks;                             // files
  std::vector<std::pair<std::string, std::string>> xattrs;  // "security.capability" → value
  std::map<std::string, uint32_t, std::less<>> children;    // directories: name → node id
  uint32_t parent = 0;                                      // directories
  uint32_t inode = 0;                                       // given when it is written
};

// Paths are resolved inside the tree, as after a chroot: symlinks in the middle of a path are
// followed and never lead out. A later entry replaces an earlier one of the same name.
class FileTree {
 public:
  using Id = uint32_t;
  static constexpr Id kRoot = 0;

  // `max_nodes` bounds what a hostile tar can make us keep.
  explicit FileTree(size_t max_nodes);

  // Adds `node` under `path` ("./usr/bin/x"); missing parents are made. Errors: corrupt (a path
  // with "..", a name that is too long, a parent that is no directory), invalid_argument (too many
  // nodes).
  Result<Id> add(std::string_view path, Node node);
  // Another name for a file that is there.
  Result<void> add_hard_link(std::string_view path, std::string_view target);
  // The node a path means, without following a symlink at its end.
  [[nodiscard]] Result<Id> find(std::string_view path) const;

  [[nodiscard]] Node& node(Id id) { return nodes_[id]; }
  [[nodiscard]] const Node& node(Id id) const { return nodes_[id]; }
  // Ids of everything that can be reached, parents first, names in byte order. Counts Node::names
  // anew, without what hung below directories that were replaced.
  [[nodiscard]] std::vector<Id> walk();

 private:
  struct Place {
    Id directory = kRoot;
    std::string name;  // empty: the root itself
  };

  // Splits off the last name and resolves what is before it, making directories if asked to.
  Result<Place> place(std::string_view path, bool make_parents);
  Result<Id> new_node(Node node);
  Result<Id> step(Id directory, std::string_view name, bool make, int& symlinks_left,
                  std::vector<std::string>& rest);
  Result<Id> merge(Id existing, Node node);
  void attach(Id directory, const std::string& name, Id id);
  void detach(Id directory, const std::string& name);

  size_t max_nodes_;
  std::vector<Node> nodes_;
};

}  // namespace microvm::host
