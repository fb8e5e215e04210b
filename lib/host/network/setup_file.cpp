#include "host/network/setup_file.hpp"

#include <fcntl.h>

#include "host/store/files.hpp"
#include "sys/file.hpp"

namespace microvm::host {

namespace fs = std::filesystem;

Result<void> write_new_setup(const fs::path& vm_dir, const wire::NetworkSetup& setup) {
  const auto file =
      open_file(vm_dir / wire::kNetworkFile, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (!file) return base::fail(file.error());
  return sys::write_full(file->get(), wire::encode_network_setup(setup));
}

Result<void> replace_setup(const fs::path& vm_dir, const wire::NetworkSetup& setup) {
  const auto directory = open_file(vm_dir, O_RDONLY | O_DIRECTORY);
  if (!directory) return base::fail(directory.error());
  return sys::write_file_atomic(directory->get(), wire::kNetworkFile,
                                wire::encode_network_setup(setup));
}

Result<base::Fd> open_setup(const fs::path& vm_dir) {
  return open_file(vm_dir / wire::kNetworkFile, O_RDONLY | O_NOFOLLOW);
}

Result<wire::NetworkSetup> read_setup(const fs::path& vm_dir) {
  const fs::path path = vm_dir / wire::kNetworkFile;
  const auto bytes = read_file(path, wire::kMaxNetworkSetupBytes);
  if (!bytes) return base::fail(bytes.error());
  auto setup = wire::decode_network_setup(*bytes);
  if (setup) return setup;
  return base::fail(setup.error().code, path.string() + ": " + setup.error().message);
}

}  // namespace microvm::host
