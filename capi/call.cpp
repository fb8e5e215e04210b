#include "call.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace microvm::capi {

std::vector<std::string> Call::texts(const char* const* items, size_t count,
                                     const char* what) const {
  if (count > 0 && items == nullptr) refuse(std::string(what) + " is NULL, its count is not 0");
  if (count > kMaxListed) refuse(std::string(what) + " has more than 1048576 items");
  std::vector<std::string> list;
  for (size_t i = 0; i < count; ++i) {
    if (items[i] == nullptr) refuse(std::string(what) + "[" + std::to_string(i) + "] is NULL");
    list.emplace_back(items[i]);
  }
  return list;
}

std::span<const std::byte> Call::bytes(const void* data, size_t size, const char* what) const {
  if (size > 0 && data == nullptr) refuse(std::string(what) + " is NULL, its size is not 0");
  if (size > PTRDIFF_MAX) refuse(std::string(what) + " is larger than memory can be");
  return {static_cast<const std::byte*>(data), size};
}

std::chrono::milliseconds Call::time(int64_t ms, const char* what) const {
  if (ms < 0) refuse(std::string(what) + " is negative");
  return std::chrono::milliseconds(std::min(ms, kMaxMs));
}

std::chrono::milliseconds Call::time(int64_t ms, std::chrono::milliseconds usual,
                                     const char* what) const {
  return ms == 0 ? usual : time(ms, what);
}

uint16_t Call::small(uint32_t number, const char* what) const {
  if (number > UINT16_MAX) refuse(std::string(what) + " is larger than 65535");
  return static_cast<uint16_t>(number);
}

HeldLimits Call::limits(const mvm_limits* given) const {
  const mvm_limits known = known_part(given);
  const auto timeout = time(known.timeout_ms, "timeout_ms");
  if (known.cancel == nullptr) return {std::nullopt, timeout};
  Held<mvm_cancel> cancel(known.cancel);
  if (!cancel) refuse("cancel is no handle, or was freed");
  return {std::move(cancel), timeout};
}

void Call::copy_known(void* known, size_t known_size, const void* given,
                      const std::string& name) const {
  uint32_t size = 0;
  std::memcpy(&size, given, sizeof size);
  if (size < sizeof size || size > kMaxStructSize) {
    refuse("struct_size is " + std::to_string(size) + ": set it to sizeof(" + name + ")");
  }
  std::memcpy(known, given, std::min<size_t>(size, known_size));
  if (size <= known_size) return;
  const std::span rest(static_cast<const std::byte*>(given) + known_size, size - known_size);
  if (std::ranges::all_of(rest, [](std::byte byte) { return byte == std::byte{0}; })) return;
  refuse(name + " says something that this version of the library does not know: update it",
         ErrorCode::unsupported);
}

void Call::check_reserved(uint32_t reserved, const std::string& name) const {
  if (reserved == 0) return;
  refuse("reserved of " + name + " is not 0", ErrorCode::unsupported);
}

}  // namespace microvm::capi
