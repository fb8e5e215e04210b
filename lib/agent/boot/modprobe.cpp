#include "agent/boot/modprobe.hpp"

#include <fcntl.h>
#include <linux/module.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "agent/base/file.hpp"
#include "agent/base/kernel_log.hpp"
#include "agent/boot/module_loader.hpp"
#include "agent/boot/modules_disk.hpp"
#include "base/fd.hpp"

namespace microvm::agent {
namespace {

// A name of its own, so that no container takes a program of its own for it.
constexpr const char* kModprobe = "/dev/microvm-modprobe";
constexpr const char* kThisProgram = "/proc/1/exe";

// Lives as long as the process.
std::string_view map_file(const base::Fd& directory, const char* name) {
  const base::Fd file(openat(directory.get(), name, O_RDONLY | O_CLOEXEC));
  struct stat status{};
  if (!file || fstat(file.get(), &status) != 0 || status.st_size <= 0) return {};
  const auto size = static_cast<size_t>(status.st_size);
  void* const content = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (content == MAP_FAILED) return {};
  return {static_cast<const char*>(content), size};
}

// One that is still coming is asked for again: the kernel waits for it then.
bool is_live(std::string_view name) {
  std::string path = "/sys/module/" + std::string(name);
  for (char& c : path)
    if (c == '-') c = '_';
  const base::Fd state(open((path + "/initstate").c_str(), O_RDONLY | O_CLOEXEC));
  char text[8] = {};
  return state && read(state.get(), text, sizeof text - 1) > 0 &&
         std::string_view(text).substr(0, 4) == "live";
}

bool insert_module(const base::Fd& directory, std::string_view name, std::string_view path) {
  if (is_live(name)) return true;
  const std::string file_name(path);
  const base::Fd file(openat(directory.get(), file_name.c_str(), O_RDONLY | O_CLOEXEC));
  const bool plain = path.size() >= 3 && path.substr(path.size() - 3) == ".ko";
  const int flags = plain ? 0 : MODULE_INIT_COMPRESSED_FILE;
  if (file && (syscall(SYS_finit_module, file.get(), "", flags) == 0 || errno == EEXIST))
    return true;
  log_error("load module " + file_name + ": " + error_text(errno));
  return false;
}

}  // namespace

Outcome<void> answer_module_requests() {
  if (symlink(kThisProgram, kModprobe) != 0 && errno != EEXIST) return fail_errno(kModprobe);
  return write_file("/proc/sys/kernel/modprobe", kModprobe);
}

bool is_module_request(int argc, char** argv) {
  return argc > 0 && std::string_view(argv[0]) == kModprobe;
}

int load_requested_module(int argc, char** argv) {
  open_kernel_log();
  const base::Fd directory(open(modules_directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return 1;
  ModuleLoader loader({.dep = map_file(directory, "modules.dep"),
                       .alias = map_file(directory, "modules.alias"),
                       .symbols = map_file(directory, "modules.symbols"),
                       .softdep = map_file(directory, "modules.softdep")},
                      [&directory](std::string_view name, std::string_view path) {
                        return insert_module(directory, name, path);
                      });
  bool loaded = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "-q" || word == "--") continue;
    if (word.empty() || word.front() == '-') return 1;  // to remove one, …: not our task
    loaded = loader.request(word) || loaded;
  }
  return loaded ? 0 : 1;
}

}  // namespace microvm::agent
