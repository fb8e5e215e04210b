#include "vmm/kvm/page_count.hpp"

#include <linux/kvm.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

#include "vmm/kvm/ioctl.hpp"

namespace microvm::vmm::kvm {
namespace {

constexpr std::string_view kName = "pages_4k";
// Right behind this field; as a member of the structure it stands elsewhere in C++ than in C.
constexpr size_t kNameAt = offsetof(kvm_stats_desc, bucket_size) + sizeof(uint32_t);
// What kernels have by far; the header is the kernel's, and believed no further.
constexpr uint32_t kMaxNameBytes = 1024;
constexpr uint32_t kMaxDescriptors = 1024;

bool read_at(const base::Fd& stats, void* to, size_t size, uint64_t offset) {
  return ::pread(stats.get(), to, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

// Where the number stands.
std::optional<uint64_t> find_number(const base::Fd& stats) {
  kvm_stats_header header{};
  if (!read_at(stats, &header, sizeof header, 0)) return std::nullopt;
  if (header.name_size > kMaxNameBytes || header.num_desc > kMaxDescriptors) return std::nullopt;
  std::vector<char> entry(kNameAt + header.name_size + 1);
  const size_t entry_bytes = entry.size() - 1;
  for (uint32_t i = 0; i < header.num_desc; ++i) {
    if (!read_at(stats, entry.data(), entry_bytes, header.desc_offset + i * entry_bytes)) break;
    if (std::string_view(entry.data() + kNameAt) != kName) continue;
    kvm_stats_desc description{};
    std::memcpy(&description, entry.data(), kNameAt);
    return uint64_t{header.data_offset} + description.offset;
  }
  return std::nullopt;
}

}  // namespace

std::optional<PageCount> PageCount::open(int vm) {
  base::Fd stats(call(vm, KVM_GET_STATS_FD, nullptr));
  if (!stats) return std::nullopt;
  const auto at = find_number(stats);
  if (!at) return std::nullopt;
  return PageCount(std::move(stats), *at);
}

std::optional<uint64_t> PageCount::mapped() const {
  uint64_t number = 0;
  if (!read_at(stats_, &number, sizeof number, at_)) return std::nullopt;
  return number;
}

}  // namespace microvm::vmm::kvm
