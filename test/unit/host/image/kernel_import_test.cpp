#include "host/image/kernel_import.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "host/image/ext4_fixtures.hpp"
#include "host/image/initramfs.hpp"
#include "host/image/kernel_fixtures.hpp"
#include "host/store/files.hpp"
#include "host/temp_dir.hpp"
#include "suite/skip.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;

namespace {

struct Fixture {
  test::TempDir dir;
  Store store = *Store::open(dir / "data");

  std::filesystem::path file(const std::string& name, ByteSpan bytes) {
    std::ofstream(dir / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return dir / name;
  }
  Error error_of(const std::filesystem::path& path) {
    const auto imported = import_kernel(store, path);
    REQUIRE_FALSE(imported);
    CHECK(imported.error().message.find(path.string()) != std::string::npos);
    CHECK(imported.error().message.find('\n') == std::string::npos);
    CHECK(store.kernels()->items.empty());
    CHECK(list_dir(store.data_dir() / "tmp")->size() <= 1);  // the lock file
    return imported.error();
  }
};

std::string module_path(const std::string& name) {
  return "./lib/modules/9.9.9-test/kernel/drivers/" + name + ".ko";
}

// virtio and ext4 built in; a chain of dependencies that no list knows.
Files package_files() {
  return {{"./boot/vmlinuz-9.9.9-test", fake_bzimage(fake_vmlinux())},
          {"./lib/modules/9.9.9-test/modules.builtin",
           to_bytes("kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio_ring.ko\n"
                    "kernel/fs/ext4/ext4.ko\n")},
          {module_path("unneeded"), fake_module("unneeded", "")},
          {module_path("deep"), fake_module("deep", "virtio")},
          {module_path("helper"), fake_module("helper", "deep")},
          {module_path("virtio_mmio"), fake_module("virtio_mmio", "virtio,virtio_ring")},
          {module_path("virtio_blk"), fake_module("virtio_blk", "helper")},
          {module_path("vsock"), fake_module("vsock", "")},
          {module_path("vmw_vsock_virtio_transport_common"),
           fake_module("vmw_vsock_virtio_transport_common", "vsock")},
          {module_path("vmw_vsock_virtio_transport"),
           fake_module("vmw_vsock_virtio_transport", "vmw_vsock_virtio_transport_common,vsock")},
          {module_path("virtio-rng"), fake_module("virtio_rng", "")}};
}

std::vector<std::string> module_files(const KernelEntry& kernel) {
  std::vector<std::string> files;
  files.reserve(kernel.manifest.modules.size());
  for (const auto& module : kernel.manifest.modules) files.push_back(module.file);
  return files;
}

}  // namespace

TEST_CASE("kernel import: a package gives the kernel and its modules in load order") {
  Fixture fixture;
  const auto info = import_kernel(fixture.store, fixture.file("k.deb", make_deb(package_files())));
  REQUIRE(info);
  CHECK(info->name == "9.9.9-test");
  const auto kernel = fixture.store.open_kernel("9.9.9-test");
  REQUIRE(kernel);
  CHECK(*read_file(kernel->path(kernel->manifest.vmlinux), 1 << 20) == fake_vmlinux());
  CHECK(module_files(*kernel) ==
        std::vector<std::string>{"00-virtio_mmio.ko", "01-deep.ko", "02-helper.ko",
                                 "03-virtio_blk.ko", "04-vsock.ko",
                                 "05-vmw_vsock_virtio_transport_common.ko",
                                 "06-vmw_vsock_virtio_transport.ko", "07-virtio_rng.ko"});
}

TEST_CASE("kernel import: whether it has virtio_pci, as a module or built in") {
  const auto has_it = [](const Files& files) {
    Fixture fixture;
    REQUIRE(import_kernel(fixture.store, fixture.file("k.deb", make_deb(files))));
    return fixture.store.open_kernel("9.9.9-test")->manifest.virtio_pci;
  };
  auto files = package_files();
  CHECK_FALSE(has_it(files));
  files.emplace_back(module_path("virtio_pci"), fake_module("virtio_pci", "virtio_pci_modern_dev"));
  files.emplace_back(module_path("virtio_pci_modern_dev"),
                     fake_module("virtio_pci_modern_dev", ""));
  CHECK(has_it(files));
  files = package_files();
  for (auto& [name, content] : files) {
    if (!name.ends_with("modules.builtin")) continue;
    const auto more = to_bytes("kernel/drivers/virtio/virtio_pci.ko\n");
    content.insert(content.end(), more.begin(), more.end());
  }
  CHECK(has_it(files));
}

TEST_CASE("kernel import: virtio_net comes after what it depends on, of a kernel that has it") {
  Fixture fixture;
  auto files = package_files();
  files.emplace_back(module_path("virtio_net"), fake_module("virtio_net", "net_failover,virtio"));
  files.emplace_back(module_path("net_failover"), fake_module("net_failover", "failover"));
  files.emplace_back(module_path("failover"), fake_module("failover", ""));
  REQUIRE(import_kernel(fixture.store, fixture.file("k.deb", make_deb(files))));
  const auto kernel = fixture.store.open_kernel("9.9.9-test");
  REQUIRE(kernel);
  CHECK(kernel->manifest.virtio_net);
  const auto names = module_files(*kernel);
  REQUIRE(names.size() > 6);
  CHECK(std::vector(names.begin() + 3, names.begin() + 7) ==
        std::vector<std::string>{"03-virtio_blk.ko", "04-failover.ko", "05-net_failover.ko",
                                 "06-virtio_net.ko"});

  Fixture other;
  REQUIRE(import_kernel(other.store, other.file("k.deb", make_deb(package_files()))));
  CHECK_FALSE(other.store.open_kernel("9.9.9-test")->manifest.virtio_net);
}

TEST_CASE("kernel import: one that an older library kept fewer modules of stays as it is") {
  Fixture fixture;
  auto files = package_files();
  const auto first = import_kernel(fixture.store, fixture.file("k.deb", make_deb(files)));
  REQUIRE(first);
  files.emplace_back(module_path("virtio_pci"), fake_module("virtio_pci", ""));
  const auto again = import_kernel(fixture.store, fixture.file("k.deb", make_deb(files)));
  REQUIRE(again);
  CHECK(again->digest == first->digest);
  CHECK_FALSE(fixture.store.open_kernel("9.9.9-test")->manifest.virtio_pci);
  std::erase_if(files, [](const auto& file) { return file.first == module_path("virtio-rng"); });
  const auto others = import_kernel(fixture.store, fixture.file("k.deb", make_deb(files)));
  REQUIRE_FALSE(others);
  CHECK(others.error().code == ErrorCode::already_exists);
}

TEST_CASE("kernel import: again changes nothing") {
  Fixture fixture;
  const auto deb = fixture.file("k.deb", make_deb(package_files()));
  const auto first = import_kernel(fixture.store, deb);
  const auto second = import_kernel(fixture.store, deb);
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->digest == second->digest);
  CHECK(fixture.store.kernels()->items.size() == 1);
}

TEST_CASE("kernel import: a bare vmlinux or bzImage has no modules") {
  Fixture fixture;
  const auto info = import_kernel(fixture.store, fixture.file("vmlinux", fake_vmlinux()));
  REQUIRE(info);
  CHECK(info->name == "9.9.9-test");
  const auto same = import_kernel(fixture.store, fixture.file("bz", fake_bzimage(fake_vmlinux())));
  REQUIRE(same);
  CHECK(same->digest == info->digest);
}

TEST_CASE("kernel import: what is wrong with a file is said with its name") {
  Fixture fixture;
  CHECK(fixture.error_of(fixture.dir / "none.deb").code == ErrorCode::not_found);
  CHECK(fixture.error_of(fixture.dir.path()).code == ErrorCode::invalid_argument);
  CHECK(fixture.error_of(fixture.file("empty", {})).code == ErrorCode::corrupt);
  CHECK(fixture.error_of(fixture.file("text", to_bytes("hello"))).code == ErrorCode::corrupt);
  CHECK(fixture.error_of(fixture.file("ar", to_bytes("!<arch>\n"))).code == ErrorCode::corrupt);
  CHECK(fixture.error_of(fixture.file("arm.deb", make_deb(package_files(), "arm64"))).code ==
        ErrorCode::unsupported);
  const auto meta = fixture.error_of(
      fixture.file("meta.deb", make_deb({{"./usr/share/doc/readme", to_bytes("x")}})));
  CHECK(meta.code == ErrorCode::not_found);
  CHECK(meta.message.find("metapackage") != std::string::npos);
}

TEST_CASE("kernel import: a kernel without a needed module is unsupported") {
  Fixture fixture;
  auto files = package_files();
  std::erase_if(files, [](const auto& file) { return file.first == module_path("vsock"); });
  const auto error = fixture.error_of(fixture.file("k.deb", make_deb(files)));
  CHECK(error.code == ErrorCode::unsupported);
  CHECK(error.message.find("has no vsock") != std::string::npos);
}

TEST_CASE("kernel import: modules that depend on each other end") {
  Fixture fixture;
  auto files = package_files();
  for (auto& [name, content] : files)
    if (name == module_path("deep")) content = fake_module("deep", "helper");
  REQUIRE(import_kernel(fixture.store, fixture.file("k.deb", make_deb(files))));
}

TEST_CASE("kernel import: a truncated package is corrupt wherever it ends") {
  Fixture fixture;
  const auto deb = make_deb(package_files());
  for (size_t keep = 8; keep + 64 < deb.size(); keep += deb.size() / 40)
    CHECK(fixture.error_of(fixture.file("k.deb", ByteSpan(deb).first(keep))).code ==
          ErrorCode::corrupt);
}

TEST_CASE("kernel import: a cancelled one leaves nothing") {
  Fixture fixture;
  CancelToken token;
  token.cancel();
  const auto imported =
      import_kernel(fixture.store, fixture.file("k.deb", make_deb(package_files())), {&token, {}});
  REQUIRE_FALSE(imported);
  CHECK(imported.error().code == ErrorCode::cancelled);
  CHECK(fixture.store.kernels()->items.empty());
}

TEST_CASE("kernel import: all modules come on a disk, as they were, with their indexes") {
  Fixture fixture;
  auto files = package_files();
  files.emplace_back(module_path("zoo"), fake_module("zoo", "helper", {"alias=fs-zoo"}, {"feed"}));
  files.emplace_back("./lib/modules/9.9.9-test/modules.order",
                     to_bytes("kernel/drivers/zoo.ko\nkernel/drivers/deep.ko\n"));
  REQUIRE(import_kernel(fixture.store, fixture.file("k.deb", make_deb(files))));
  const auto kernel = fixture.store.open_kernel("");
  REQUIRE(kernel->manifest.modules_disk);
  const auto disk = kernel->path(*kernel->manifest.modules_disk);
  CHECK(fsck_clean(disk));
  Ext4Reader reader(disk);
  CHECK(reader.last_uuid_byte() == 2);  // a base's is 1
  const auto module = fake_module("zoo", "helper", {"alias=fs-zoo"}, {"feed"});
  CHECK(reader.content("kernel/drivers/zoo.ko") ==
        std::string(reinterpret_cast<const char*>(module.data()), module.size()));
  CHECK(reader.content("modules.dep")
            .starts_with("kernel/drivers/zoo.ko: kernel/drivers/helper.ko kernel/drivers/deep.ko\n"
                         "kernel/drivers/deep.ko:\n"));
  CHECK(reader.content("modules.alias").ends_with("alias fs-zoo zoo\n"));
  CHECK(reader.content("modules.symbols").ends_with("alias symbol:feed zoo\n"));
  CHECK(reader.content("modules.builtin").find("ext4") != std::string::npos);
}

TEST_CASE("kernel import: again gives its disk to a kernel of an older library") {
  Fixture fixture;
  const auto deb = fixture.file("k.deb", make_deb(package_files()));
  REQUIRE(import_kernel(fixture.store, deb));
  const auto whole = fixture.store.open_kernel("")->manifest;
  REQUIRE(whole.modules_disk);
  const auto dir = fixture.store.kernel_dir(whole.info.digest);
  auto older = whole;
  older.modules_disk.reset();
  REQUIRE(replace_file(dir / kManifestFile, *encode_manifest(older)));
  std::filesystem::remove(dir / whole.modules_disk->file);
  REQUIRE(import_kernel(fixture.store, deb));
  const auto again = fixture.store.open_kernel("");
  REQUIRE(again->manifest.modules_disk);
  CHECK(again->manifest.modules_disk->sha256 == whole.modules_disk->sha256);
  CHECK(std::filesystem::file_size(dir / whole.modules_disk->file) ==
        whole.modules_disk->size_bytes);
  CHECK(again->manifest.imported_ms == whole.imported_ms);
}

TEST_CASE("kernel import: a module that is none is said with the package's name") {
  Fixture fixture;
  auto files = package_files();
  files.emplace_back(module_path("broken"), to_bytes("not an ELF file"));
  const auto error = fixture.error_of(fixture.file("k.deb", make_deb(files)));
  CHECK(error.code == ErrorCode::corrupt);
  CHECK(error.message.find("broken") != std::string::npos);
}

TEST_CASE("initramfs: holds the agent and the modules, the same bytes each time") {
  Fixture fixture;
  REQUIRE(import_kernel(fixture.store, fixture.file("k.deb", make_deb(package_files()))));
  const auto kernel = fixture.store.open_kernel("");
  REQUIRE(kernel);
  const auto first = make_initramfs(to_bytes("agent"), *kernel);
  REQUIRE(first);
  CHECK(*first == *make_initramfs(to_bytes("agent"), *kernel));

  archive* reader = archive_read_new();
  archive_read_support_format_cpio(reader);
  REQUIRE(archive_read_open_memory(reader, first->data(), first->size()) == ARCHIVE_OK);
  std::map<std::string, mode_t> modes;
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK)
    modes[archive_entry_pathname(entry)] = archive_entry_mode(entry);
  CHECK(archive_format(reader) == ARCHIVE_FORMAT_CPIO_SVR4_NOCRC);
  archive_read_free(reader);
  CHECK(modes["init"] == (AE_IFREG | 0755));
  CHECK(modes["dev"] == (AE_IFDIR | 0755));
  CHECK(modes["dev/console"] == (AE_IFCHR | 0600));
  CHECK(modes.contains("modules/03-virtio_blk.ko"));
}

TEST_CASE("initramfs: a damaged module is noticed") {
  Fixture fixture;
  REQUIRE(import_kernel(fixture.store, fixture.file("k.deb", make_deb(package_files()))));
  const auto kernel = fixture.store.open_kernel("");
  REQUIRE(kernel);
  std::fstream(kernel->path(kernel->manifest.modules[0])).put('X');
  const auto result = make_initramfs(to_bytes("agent"), *kernel);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::corrupt);
}

// MICROVM_TEST_DEBS: paths of stock linux-image packages, separated by colons.
TEST_CASE("kernel import: stock Debian packages") {
  const char* list = std::getenv("MICROVM_TEST_DEBS");
  if (list == nullptr) SKIP_CASE("needs MICROVM_TEST_DEBS: test/run sets it");
  Fixture fixture;
  std::istringstream paths(list);
  for (std::string path; std::getline(paths, path, ':');) {
    CAPTURE(path);
    const auto info = import_kernel(fixture.store, path);
    REQUIRE(info);
    CHECK(path.find(info->name) != std::string::npos);
    const auto kernel = fixture.store.open_kernel(info->digest);
    REQUIRE(kernel);
    CHECK(kernel->manifest.modules.size() >= 7);
    CHECK(kernel->manifest.virtio_net);
    CHECK(make_initramfs(to_bytes("agent"), *kernel));
    CHECK(kernel->manifest.modules_disk);
  }
}
