#include "kvm_stats.hpp"

#include <doctest/doctest.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"

namespace microvm::vmm::test {
namespace {

int vcpu_fd() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ec;
    const auto target = std::filesystem::read_symlink(entry.path(), ec).string();
    if (target.find("kvm-vcpu") != std::string::npos) return std::stoi(entry.path().filename());
  }
  FAIL("this process has no vCPU");
  return -1;
}

void read_at(const base::Fd& stats, void* to, size_t size, uint32_t offset) {
  REQUIRE(::pread(stats.get(), to, size, offset) == static_cast<ssize_t>(size));
}

}  // namespace

uint64_t vcpu_exits() {
  // Right behind this field; as a member of the structure it stands elsewhere in C++ than in C.
  constexpr size_t kNameAt = offsetof(kvm_stats_desc, bucket_size) + sizeof(uint32_t);
  const base::Fd stats(::ioctl(vcpu_fd(), KVM_GET_STATS_FD, nullptr));
  REQUIRE(stats);
  kvm_stats_header header{};
  read_at(stats, &header, sizeof header, 0);
  std::vector<char> entry(kNameAt + header.name_size + 1);
  const auto entry_bytes = static_cast<uint32_t>(entry.size() - 1);
  for (uint32_t i = 0; i < header.num_desc; ++i) {
    read_at(stats, entry.data(), entry_bytes, header.desc_offset + i * entry_bytes);
    if (std::string_view(entry.data() + kNameAt) != "exits") continue;
    kvm_stats_desc description;
    std::memcpy(&description, entry.data(), kNameAt);
    uint64_t value = 0;
    read_at(stats, &value, sizeof value, header.data_offset + description.offset);
    return value;
  }
  FAIL("KVM does not count exits");
  return 0;
}

}  // namespace microvm::vmm::test
