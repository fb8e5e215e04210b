#include "host/image/kernel_import.hpp"

#include <chrono>
#include <optional>

#include "host/image/bzimage.hpp"
#include "host/image/deb_reader.hpp"
#include "host/image/elf.hpp"
#include "host/image/kernel_modules.hpp"
#include "host/image/modules_disk.hpp"
#include "host/store/digest.hpp"
#include "host/store/file_record.hpp"
#include "host/store/files.hpp"
#include "host/store/names.hpp"

namespace microvm::host {

using base::fail;
using std::filesystem::path;

namespace {

constexpr size_t kMaxKernelBytes = 256u << 20;
// Of all modules together, as they are kept in memory while a package is read.
constexpr size_t kMaxModulesBytes = 2048u << 20;
// Each pass finds the modules the one before it saw named as dependencies.
constexpr int kMaxPasses = 8;

struct Kernel {
  std::string release;
  Bytes vmlinux;
  std::vector<InitramfsModule> modules;
  bool virtio_pci = false;
  bool virtio_net = false;
  ModuleFiles all_modules;  // for the disk; a bare kernel has none
};

// What is kept of a package while it is read.
struct Package {
  std::string release;
  std::optional<Bytes> image;
  ModuleFiles module_files;
  size_t module_bytes = 0;
};

constexpr std::string_view kImagePrefix = "boot/vmlinuz-";

bool wants(const Package& package, const std::string& file) {
  if (file.starts_with(kImagePrefix)) return !package.image;
  return package.module_bytes <= kMaxModulesBytes && !path_of_module_file(file).empty();
}

void take(Package& package, const std::string& file, Bytes content) {
  if (file.starts_with(kImagePrefix)) {
    package.release = file.substr(kImagePrefix.size());
    package.image = std::move(content);
    return;
  }
  package.module_bytes += content.size();
  package.module_files[path_of_module_file(file)] = std::move(content);
}

Result<Package> read_package(const path& deb, const CallCheck& check) {
  Package package;
  const DebVisitor visitor{
      [&](const std::string& file) { return wants(package, file); },
      [&](const std::string& file, Bytes content) { take(package, file, std::move(content)); },
      kMaxKernelBytes};
  if (auto read = read_deb(deb, "amd64", visitor, check); !read) return fail(read.error());
  if (package.module_bytes > kMaxModulesBytes)
    return fail(ErrorCode::corrupt, deb.string() + ": more than 2 GiB of modules");
  if (!package.image)
    return fail(ErrorCode::not_found, deb.string() +
                                          ": holds no boot/vmlinuz; if this is a metapackage, "
                                          "import the linux-image-VERSION package it depends on");
  return package;
}

// One pass over what was read: true when it brought a module that is wanted.
Result<bool> add_wanted(const ModuleFiles& files, KernelModules& modules) {
  bool found = false;
  for (const auto& [file, content] : files) {
    const std::string place = "lib/modules/" + file;
    if (!modules.wants(KernelModules::name_of(place))) continue;
    if (auto added = modules.add(place, content); !added) return fail(added.error());
    found = true;
  }
  return found;
}

Result<KernelModules> initramfs_modules(const ModuleFiles& files) {
  KernelModules modules;
  if (const auto list = files.find("modules.builtin"); list != files.end())
    modules.add_builtin({reinterpret_cast<const char*>(list->second.data()), list->second.size()});
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const auto found = add_wanted(files, modules);
    if (!found) return fail(found.error());
    if (!*found) break;
  }
  return modules;
}

Result<Kernel> kernel_from_deb(const path& deb, const CallCheck& check) {
  auto package = read_package(deb, check);
  if (!package) return fail(package.error());
  auto vmlinux = extract_vmlinux(std::move(*package->image), deb.string());
  if (!vmlinux) return fail(vmlinux.error());
  auto known = initramfs_modules(package->module_files);
  if (!known) return fail(known.error().code, deb.string() + ": " + known.error().message);
  auto modules = known->in_load_order(deb.string());
  if (!modules) return fail(modules.error());
  return Kernel{package->release,         std::move(*vmlinux),
                std::move(*modules),      known->has("virtio_pci"),
                known->has("virtio_net"), std::move(package->module_files)};
}

Result<Kernel> kernel_from_image(const path& file) {
  auto image = read_file(file, kMaxKernelBytes);
  if (!image) return fail(image.error());
  auto vmlinux = extract_vmlinux(std::move(*image), file.string());
  if (!vmlinux) return fail(vmlinux.error());
  return Kernel{.release = find_release(*vmlinux), .vmlinux = std::move(*vmlinux)};
}

Result<bool> is_package(const path& file) {
  static constexpr std::string_view kArMagic = "!<arch>\n";
  const auto fd = open_regular_file(file);
  if (!fd) return fail(fd.error());
  char magic[kArMagic.size()];
  const ssize_t count = ::read(fd->get(), magic, sizeof magic);
  if (count < 0) return base::fail_errno("read " + file.string());
  if (count == 0) return fail(ErrorCode::corrupt, file.string() + ": an empty file");
  return std::string_view(magic, static_cast<size_t>(count)) == kArMagic;
}

Result<Kernel> read_kernel(const path& file, const CallCheck& check) {
  const auto package = is_package(file);
  if (!package) return fail(package.error());
  auto kernel = *package ? kernel_from_deb(file, check) : kernel_from_image(file);
  if (kernel && !is_plain_file_name(kernel->release))
    return fail(ErrorCode::corrupt, file.string() + ": the kernel's release is not a name");
  return kernel;
}

Result<FileRecord> store_file(const TempEntry& entry, const std::string& name, ByteSpan bytes) {
  if (auto written = entry.write_file(name, bytes); !written) return fail(written.error());
  return FileRecord{name, bytes.size(), bytes.size(), sha256_hex(bytes)};
}

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Result<FileRecord> store_modules_disk(const TempEntry& entry, const Kernel& kernel,
                                      const std::string& name, const CallCheck& check) {
  if (auto made = entry.create_file(kModulesDisk); !made) return fail(made.error());
  if (auto written = write_modules_disk(entry.dir() / kModulesDisk, kernel.all_modules, check);
      !written)
    return fail(written.error().code, name + ": " + written.error().message);
  return record_of(entry.dir(), kModulesDisk, check);
}

Result<KernelInfo> store_kernel(const Store& store, const Kernel& kernel, const std::string& name,
                                const CallCheck& check) {
  auto entry = store.new_entry();
  if (!entry) return fail(entry.error());
  const auto vmlinux = store_file(*entry, "vmlinux", kernel.vmlinux);
  if (!vmlinux) return fail(vmlinux.error());
  KernelManifest manifest{{kernel.release, vmlinux->sha256, vmlinux->size_bytes},
                          now_ms(),
                          *vmlinux,
                          {},
                          kernel.virtio_pci,
                          kernel.virtio_net,
                          {}};
  for (const auto& module : kernel.modules) {
    auto record = store_file(*entry, module.file, module.bytes);
    if (!record) return fail(record.error());
    manifest.modules.push_back(std::move(*record));
  }
  if (!kernel.all_modules.empty()) {
    auto disk = store_modules_disk(*entry, kernel, name, check);
    if (!disk) return fail(disk.error());
    manifest.modules_disk = std::move(*disk);
  }
  const auto stored = store.commit_kernel(std::move(*entry), manifest);
  if (!stored) return fail(stored.error());
  return stored->info;
}

}  // namespace

Result<KernelInfo> import_kernel(const Store& store, const path& file, const CallLimits& limits) {
  const CallCheck check(limits, "import kernel " + file.string());
  const auto kernel = read_kernel(file, check);
  if (!kernel) return fail(kernel.error());
  if (auto go_on = check(); !go_on) return fail(go_on.error());
  return store_kernel(store, *kernel, file.string(), check);
}

}  // namespace microvm::host
