// The inotify watches of one directory, and of those below it: which watch means which path.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <unordered_map>

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// Of one tree; the kernel has a bound of its own for all of them.
inline constexpr size_t kMaxWatches = 8192;

// Paths are relative to the top and empty for itself. No link below the top is followed and no file
// system mounted below is entered.
class WatchedTree {
 public:
  // What a walk meets.
  class Visitor {
   public:
    // False ends the walk.
    virtual bool found(const std::string& path, bool is_directory) = 0;
    // There is no watch for this directory and for others that the walk would have come to.
    virtual void no_room() = 0;

   protected:
    ~Visitor() = default;
  };

  // A directory or any other file; links in the path are followed inside `root`, which is borrowed.
  static Outcome<WatchedTree> create(int root, const std::string& path);

  [[nodiscard]] int fd() const { return inotify_.get(); }
  // The top.
  [[nodiscard]] bool is_directory() const { return is_directory_; }
  [[nodiscard]] bool is_top(int watch) const { return watch == top_watch_; }
  // Null: not (any more) one of ours.
  [[nodiscard]] const std::string* path_of(int watch) const;

  // Watches the directory and all below it; one that went away meanwhile is left out.
  void add_below(const std::string& path, Visitor& visitor);
  // The kernel has dropped it.
  void forget(int watch) { paths_.erase(watch); }
  // The directory and all below it, which moved inside the tree, or out of it.
  void moved(const std::string& from, const std::string& to);
  void drop(const std::string& path);

 private:
  WatchedTree(base::Fd inotify, int root, std::string path)
      : inotify_(std::move(inotify)), root_(root), path_(std::move(path)) {}
  enum class Added { yes, gone, no_room };
  Added add(int top, const std::string& path);
  [[nodiscard]] base::Fd open_top() const;

  // No descriptor of the top is kept: the kernel tells of its end only when nobody has it open.
  base::Fd inotify_;
  int root_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  bool is_directory_ = false;
  int top_watch_ = -1;
  std::unordered_map<int, std::string> paths_;
};

[[nodiscard]] std::string join_path(const std::string& directory, const char* name);

}  // namespace microvm::agent
