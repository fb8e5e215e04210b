#include "host/image/kernel_modules.hpp"

#include <array>

#include "host/image/decompress.hpp"
#include "host/image/elf.hpp"

namespace microvm::host {

using base::fail;

namespace {

constexpr size_t kMaxModuleBytes = 16u << 20;
constexpr size_t kMaxModules = 64;

struct Wanted {
  const char* name;
  bool required;
};

// In the order they load where their dependencies leave it open.
constexpr std::array kWanted = {Wanted{"virtio", true},
                                Wanted{"virtio_ring", true},
                                Wanted{"virtio_mmio", true},
                                Wanted{"virtio_pci", false},
                                Wanted{"virtio_blk", true},
                                Wanted{"virtio_net", false},
                                Wanted{"ext4", true},
                                Wanted{"vsock", true},
                                Wanted{"vmw_vsock_virtio_transport_common", true},
                                Wanted{"vmw_vsock_virtio_transport", true},
                                Wanted{"virtio_rng", false},
                                Wanted{"overlay", false}};

std::string numbered(size_t index, const std::string& name) {
  const std::string digits = std::to_string(index);
  return (digits.size() < 2 ? "0" : "") + digits + "-" + name + ".ko";
}

}  // namespace

KernelModules::KernelModules() {
  for (const auto& wanted : kWanted) wanted_.insert(wanted.name);
}

std::string KernelModules::name_of(std::string_view path) {
  if (path.find("lib/modules/") == std::string_view::npos) return {};
  std::string_view file = path.substr(path.rfind('/') + 1);
  for (const std::string_view suffix : {".xz", ".zst", ".gz"})
    if (file.ends_with(suffix)) file.remove_suffix(suffix.size());
  if (!file.ends_with(".ko")) return {};
  file.remove_suffix(3);
  return module_name(file);
}

Result<void> KernelModules::add(const std::string& path, Bytes content) {
  const auto name = name_of(path);
  if (modules_.size() >= kMaxModules)
    return fail(ErrorCode::unsupported,
                "kernel modules: more than " + std::to_string(kMaxModules) + " are needed");
  if (detect_compression(content) != Compression::none) {
    auto elf = decompress(content, name, kMaxModuleBytes);
    if (!elf) return fail(elf.error());
    content = std::move(*elf);
  }
  auto info = read_module_info(content, name);
  if (!info) return fail(info.error());
  wanted_.insert(info->depends.begin(), info->depends.end());
  modules_[name] = Module{std::move(info->depends), std::move(content)};
  return {};
}

void KernelModules::add_builtin(std::string_view list) {
  while (!list.empty()) {
    const size_t end = list.find('\n');
    if (auto name = name_of("lib/modules/" + std::string(list.substr(0, end))); !name.empty())
      builtin_.insert(std::move(name));
    if (end == std::string_view::npos) return;
    list.remove_prefix(end + 1);
  }
}

std::vector<std::string> KernelModules::missing() const {
  std::vector<std::string> names;
  for (const auto& name : wanted_)
    if (!modules_.contains(name) && !builtin_.contains(name)) names.push_back(name);
  return names;
}

// Depth first: what a module depends on comes before it.
Result<void> KernelModules::append(const std::string& name, const std::string& what,
                                   std::set<std::string>& visited,
                                   std::vector<InitramfsModule>& order) {
  if (builtin_.contains(name) || !visited.insert(name).second) return {};
  const auto it = modules_.find(name);
  if (it == modules_.end())
    return fail(ErrorCode::unsupported,
                what + ": the kernel has no " + name +
                    "; use a stock Debian kernel (linux-image-cloud-amd64)");
  for (const auto& dependency : it->second.depends)
    if (auto done = append(dependency, what, visited, order); !done) return done;
  order.push_back({numbered(order.size(), name), std::move(it->second.elf)});
  return {};
}

Result<std::vector<InitramfsModule>> KernelModules::in_load_order(const std::string& what) {
  std::set<std::string> visited;
  std::vector<InitramfsModule> order;
  for (const auto& wanted : kWanted) {
    if (!wanted.required && !modules_.contains(wanted.name)) continue;
    if (auto done = append(wanted.name, what, visited, order); !done) return fail(done.error());
  }
  return order;
}

}  // namespace microvm::host
