#include "net/space/sysctl.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd.hpp"

namespace microvm::net::space {

Result<void> set_sysctl(const std::string& name, const char* value) {
  const base::Fd fd(::open(("/proc/sys/" + name).c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return {};
  const size_t size = std::strlen(value);
  if (!fd || ::write(fd.get(), value, size) != static_cast<ssize_t>(size)) {
    return base::fail_errno("set " + name);
  }
  return {};
}

std::string read_sysctl(const std::string& name) {
  const base::Fd fd(::open(("/proc/sys/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 64> text{};
  const ssize_t got = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  const std::string all(text.data(), got > 0 ? static_cast<size_t>(got) : 0);
  return all.substr(0, all.find_first_of(" \t\n"));
}

}  // namespace microvm::net::space
