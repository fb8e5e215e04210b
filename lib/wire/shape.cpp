#include "wire/shape.hpp"

namespace microvm::wire {
namespace {

std::string too_many(uint16_t count, uint16_t most, const char* what) {
  if (count <= most) return {};
  return std::to_string(count) + " " + what + ": give at most " + std::to_string(most);
}

std::string memory_problem(const Shape& shape) {
  if (!is_memory_size(shape.memory_bytes)) {
    return "memory of " + std::to_string(shape.memory_bytes) +
           " bytes: give a multiple of 2 MiB, at most 1 TiB";
  }
  if (!is_memory_size(shape.memory_limit()) || shape.memory_limit() < shape.memory_bytes) {
    return "peak memory of " + std::to_string(shape.peak_memory_bytes) +
           " bytes: give a multiple of 2 MiB from the baseline to 1 TiB";
  }
  return {};
}

std::string vcpu_problem(const Shape& shape) {
  const std::string most = std::to_string(kMaxVcpus);
  if (!is_vcpu_count(shape.vcpus)) {
    return std::to_string(shape.vcpus) + " vcpus: give 1 to " + most;
  }
  if (!is_vcpu_count(shape.vcpu_limit()) || shape.vcpu_limit() < shape.vcpus) {
    return std::to_string(shape.peak_vcpus) + " peak vcpus: give the baseline's to " + most;
  }
  return {};
}

}  // namespace

std::string shape_problem(const Shape& shape) {
  if (std::string problem = memory_problem(shape); !problem.empty()) return problem;
  if (std::string problem = vcpu_problem(shape); !problem.empty()) return problem;
  if (std::string problem = too_many(shape.disks, kMaxDisks, "disks"); !problem.empty()) {
    return problem;
  }
  return too_many(shape.nets, kMaxNets, "nets");
}

}  // namespace microvm::wire
