// The names of the enums of network.hpp.
#include <array>

#include "microvm/network.hpp"

namespace microvm {
namespace {

template <size_t N>
const char* name_at(const std::array<const char*, N>& names, size_t index) {
  return index < N ? names[index] : "unknown";
}

}  // namespace

const char* network_mode_name(NetworkMode mode) noexcept {
  static constexpr std::array kNames = {"automatic", "none", "user", "tap"};
  return name_at(kNames, static_cast<size_t>(mode));
}

const char* network_default_name(NetworkDefault otherwise) noexcept {
  static constexpr std::array kNames = {"internet", "allow", "deny"};
  return name_at(kNames, static_cast<size_t>(otherwise));
}

const char* flow_kind_name(FlowRecord::Kind kind) noexcept {
  static constexpr std::array kNames = {"opened", "ended", "refused", "failed", "name"};
  return name_at(kNames, static_cast<size_t>(kind));
}

}  // namespace microvm
