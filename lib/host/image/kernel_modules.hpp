// Which modules of a kernel a guest needs, and in which order they load.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "host/image/bytes.hpp"
#include "host/image/initramfs.hpp"

namespace microvm::host {

// Gathers modules while a package is read. When needed modules depend on others that were not
// kept, missing() names them and the package is read once more.
class KernelModules {
 public:
  KernelModules();

  // Of "…/drivers/block/virtio_blk.ko.xz": "virtio_blk"; empty when it is no module.
  [[nodiscard]] static std::string name_of(std::string_view path);

  [[nodiscard]] bool wants(const std::string& name) const {
    return wanted_.contains(name) && !modules_.contains(name);
  }
  // Unpacks it and looks up what it depends on.
  Result<void> add(const std::string& path, Bytes content);
  // modules.builtin: what needs no module.
  void add_builtin(std::string_view list);

  // Modules that are wanted, not built in and not there yet.
  [[nodiscard]] std::vector<std::string> missing() const;
  // A module that was added, or built in.
  [[nodiscard]] bool has(const std::string& name) const {
    return modules_.contains(name) || builtin_.contains(name);
  }
  // In load order, named "NN-name.ko". `what` stands in messages. Error: unsupported when the
  // kernel has not what a guest cannot do without.
  [[nodiscard]] Result<std::vector<InitramfsModule>> in_load_order(const std::string& what);

 private:
  struct Module {
    std::vector<std::string> depends;
    Bytes elf;
  };

  Result<void> append(const std::string& name, const std::string& what,
                      std::set<std::string>& visited, std::vector<InitramfsModule>& order);

  std::set<std::string> wanted_;
  std::set<std::string> builtin_;
  std::map<std::string, Module> modules_;
};

}  // namespace microvm::host
