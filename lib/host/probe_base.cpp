#include "host/probe_base.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "host/base/embedded.hpp"
#include "sys/file.hpp"

namespace microvm::host {
namespace {

constexpr size_t kTarBlock = 512;

// POSIX.1-1988, ustar: text fields of fixed places, numbers in octal.
class SmallTar {
 public:
  void directory(const std::string& name) { header(name, '5', 0755, 0); }
  void program(const std::string& name, std::span<const std::byte> bytes) {
    header(name, '0', 0755, bytes.size());
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    bytes_.resize((bytes_.size() + kTarBlock - 1) / kTarBlock * kTarBlock);
  }
  // Two blocks of zeros are its end.
  std::vector<std::byte> finish() {
    bytes_.resize(bytes_.size() + 2 * kTarBlock);
    return std::move(bytes_);
  }

 private:
  void header(const std::string& name, char type, unsigned mode, size_t size) {
    std::string block(kTarBlock, '\0');
    const auto text = [&](size_t at, const std::string& value) {
      std::ranges::copy(value, block.begin() + static_cast<std::ptrdiff_t>(at));
    };
    const auto octal = [&](size_t at, int digits, size_t value) {
      char number[24];
      std::snprintf(number, sizeof number, "%0*zo", digits, value);
      text(at, number);
    };
    text(0, name);
    octal(100, 7, mode);
    octal(108, 7, 0);
    octal(116, 7, 0);
    octal(124, 11, size);
    octal(136, 11, 0);
    text(148, "        ");  // the sum is made with blanks in its place
    block[156] = type;
    text(257, "ustar");
    text(263, "00");
    size_t sum = 0;
    for (const char letter : block) sum += static_cast<unsigned char>(letter);
    octal(148, 6, sum);
    block[154] = '\0';
    const auto bytes = std::as_bytes(std::span(block));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  std::vector<std::byte> bytes_;
};

Result<void> write_new_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  const auto file = sys::open_at(AT_FDCWD, path.string(), O_WRONLY | O_CREAT | O_EXCL);
  if (!file) return base::fail(file.error());
  return sys::write_full(file->get(), bytes);
}

}  // namespace

Result<void> write_probe_base(const std::filesystem::path& tar) {
  SmallTar files;
  for (const char* name : {"dev/", "etc/", "proc/", "run/", "sys/", "tmp/", "var/"}) {
    files.directory(name);
  }
  files.program(kProbeProgram + 1, embedded_probe_guest());
  return write_new_file(tar, files.finish());
}

Result<void> write_probe_context(const std::filesystem::path& directory, const std::string& base) {
  std::error_code ec;
  std::filesystem::create_directory(directory, ec);
  if (ec) return base::fail(ErrorCode::io, "make the probe's context: " + ec.message());
  const std::string text = "FROM " + base + "\nCMD [\"" + kProbeProgram + "\"]\n";
  return write_new_file(directory / "Dockerfile", std::as_bytes(std::span(text)));
}

}  // namespace microvm::host
