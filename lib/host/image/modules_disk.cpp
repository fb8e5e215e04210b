#include "host/image/modules_disk.hpp"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "host/image/decompress.hpp"
#include "host/image/ext4_writer.hpp"
#include "host/image/kernel_modules.hpp"
#include "host/image/module_index.hpp"

namespace microvm::host {

using base::fail;

namespace {

constexpr size_t kMaxNodes = 65536;
// The package's own lists that are of use without the indexes that are made anew.
constexpr const char* kBuiltin = "modules.builtin";
constexpr const char* kBuiltinModinfo = "modules.builtin.modinfo";
constexpr const char* kOrder = "modules.order";

std::string text_of(const ModuleFiles& files, const std::string& name) {
  const auto found = files.find(name);
  if (found == files.end()) return {};
  return {reinterpret_cast<const char*>(found->second.data()), found->second.size()};
}

// "kernel/fs/x.ko" for "kernel/fs/x.ko.xz", as modules.order has it.
std::string_view without_compression(std::string_view path) {
  return path.substr(0, path.rfind(".ko") + 3);
}

class ModuleOrder {
 public:
  explicit ModuleOrder(const std::string& lines) {
    size_t begin = 0;
    while (begin < lines.size()) {
      const size_t end = std::min(lines.find('\n', begin), lines.size());
      places_.emplace(lines.substr(begin, end - begin), places_.size());
      begin = end + 1;
    }
  }
  [[nodiscard]] size_t place_of(const std::string& path) const {
    const auto found = places_.find(std::string(without_compression(path)));
    return found == places_.end() ? std::numeric_limits<size_t>::max() : found->second;
  }

 private:
  std::unordered_map<std::string, size_t> places_;
};

Result<IndexedModule> read_module(const std::string& path, const Bytes& content) {
  Bytes unpacked;
  if (detect_compression(content) != Compression::none) {
    auto elf = decompress(content, path);
    if (!elf) return fail(elf.error());
    unpacked = std::move(*elf);
  }
  const ByteSpan elf = unpacked.empty() ? ByteSpan(content) : ByteSpan(unpacked);
  auto info = read_module_info(elf, path);
  if (!info) return fail(info.error());
  return IndexedModule{KernelModules::name_of("lib/modules/" + path), path, std::move(*info),
                       exported_symbols(elf)};
}

Result<std::vector<IndexedModule>> read_modules(const ModuleFiles& files, const CallCheck& check) {
  std::vector<IndexedModule> modules;
  for (const auto& [path, content] : files) {
    if (auto go_on = check(); !go_on) return fail(go_on.error());
    if (KernelModules::name_of("lib/modules/" + path).empty()) continue;
    auto module = read_module(path, content);
    if (!module) return fail(module.error());
    modules.push_back(std::move(*module));
  }
  const ModuleOrder order(text_of(files, kOrder));
  std::ranges::stable_sort(
      modules, {}, [&order](const IndexedModule& module) { return order.place_of(module.path); });
  return modules;
}

Result<ModuleFiles> files_of_disk(const ModuleFiles& package, const CallCheck& check) {
  const auto modules = read_modules(package, check);
  if (!modules) return fail(modules.error());
  ModuleFiles files;
  for (const auto& module : *modules) files[module.path] = package.at(module.path);
  for (const char* name : {kBuiltin, kBuiltinModinfo, kOrder})
    if (package.contains(name)) files[name] = package.at(name);
  for (const auto& [name, text] :
       index_modules(*modules, {text_of(package, kBuiltin), text_of(package, kBuiltinModinfo)})) {
    const auto bytes = std::as_bytes(std::span(text));
    files[name] = Bytes(bytes.begin(), bytes.end());
  }
  return files;
}

// Room for the content, an inode for each file and directory, and the journal that ext4 keeps;
// what is not used is a hole.
uint64_t disk_bytes_for(const ModuleFiles& files) {
  constexpr uint64_t kPerFile = 2 * 16384;
  constexpr uint64_t kAtLeast = 32ull << 20;
  uint64_t bytes = kAtLeast;
  for (const auto& [name, content] : files) bytes += content.size() + kPerFile;
  return (bytes / kExt4BlockBytes + 1) * kExt4BlockBytes;
}

Result<void> add_file(FileTree& tree, Ext4Writer& disk, const std::string& path,
                      const Bytes& content) {
  auto stream = disk.new_file();
  if (auto written = stream.write(content, 0); !written) return written;
  auto blocks = stream.finish();
  if (!blocks) return fail(blocks.error());
  Node node;
  node.kind = NodeKind::file;
  node.permissions = 0644;
  node.size_bytes = content.size();
  node.blocks = std::move(*blocks);
  if (auto added = tree.add(path, std::move(node)); !added) return fail(added.error());
  return {};
}

}  // namespace

std::string path_of_module_file(const std::string& file) {
  static constexpr std::string_view kPlace = "lib/modules/";
  const size_t place = file.starts_with("usr/") ? 4 : 0;
  if (file.compare(place, kPlace.size(), kPlace) != 0) return {};
  const size_t release = file.find('/', place + kPlace.size());
  return release == std::string::npos ? std::string() : file.substr(release + 1);
}

Result<void> write_modules_disk(const std::filesystem::path& file, const ModuleFiles& package,
                                const CallCheck& check) {
  const auto files = files_of_disk(package, check);
  if (!files) return fail(files.error());
  auto disk = Ext4Writer::create(file, disk_bytes_for(*files), Ext4Use::modules);
  if (!disk) return fail(disk.error());
  FileTree tree(std::min(kMaxNodes, (*disk)->max_nodes()));
  for (const auto& [path, content] : *files) {
    if (auto go_on = check(); !go_on) return go_on;
    if (auto added = add_file(tree, **disk, path, content); !added) return added;
  }
  return (*disk)->finish(tree, check);
}

}  // namespace microvm::host
