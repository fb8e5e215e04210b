#include "agent/boot/modules.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/failed.hpp"
#include "agent/base/kernel_log.hpp"
#include "base/fd.hpp"

namespace microvm::agent {
namespace {

std::vector<std::string> module_names(const char* directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(directory), closedir);
  if (!open) return names;
  while (const dirent* entry = readdir(open.get())) {
    std::string name = entry->d_name;
    if (name.ends_with(".ko")) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Outcome<void> load_module(const std::string& path) {
  const base::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(path);
  // EEXIST: this kernel has it built in, or it was loaded before.
  if (syscall(SYS_finit_module, file.get(), "", 0) != 0 && errno != EEXIST)
    return fail_errno("load module " + path);
  return {};
}

}  // namespace

void load_modules(const char* directory) {
  for (const auto& name : module_names(directory)) {
    const auto loaded = load_module(std::string(directory) + "/" + name);
    if (!loaded) log_error(loaded.error().message);
  }
}

}  // namespace microvm::agent
