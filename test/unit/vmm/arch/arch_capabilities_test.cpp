// What a processor promises of its flaws, and a guest relies on.
#include "vmm/arch/x86_64/arch_capabilities.hpp"

#include <doctest/doctest.h>

#include "host_cpus.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm::x86_64;

namespace {

// Of dumps of hosts.
constexpr uint64_t kCascadeLake = 0xc0aa0eb, kIceLake = 0xc02a0eb;
constexpr uint64_t kSapphireRapids = 0x400000000c08e0eb;
constexpr uint64_t kRdclNo = 1, kRsba = 1 << 2, kRrsba = 1 << 19;

std::string complaint(uint64_t snapshot, uint64_t host) {
  const auto checked = check_capabilities(snapshot, host);
  if (checked) return {};
  CHECK(checked.error().code == ErrorCode::incompatible_cpu);
  return checked.error().message;
}

wire::Bytes state_with(uint16_t version, const wire::Bytes& body) {
  state::Writer out;
  out.add(state::SectionId::cpu_capabilities, 0, version, body);
  return out.finish();
}

ErrorCode read_code(const wire::Bytes& bytes) {
  const auto in = state::Reader::parse(bytes);
  REQUIRE(in);
  const auto value = read_capabilities(*in);
  return value ? ErrorCode{} : value.error().code;
}

}  // namespace

TEST_CASE("arch capabilities: a host that promises as much or more is good enough") {
  for (const uint64_t value : {kCascadeLake, kIceLake, kSapphireRapids}) {
    CHECK(complaint(value, value) == "");
    CHECK(complaint(0, value) == "");
    CHECK(complaint(value, ~uint64_t{0}) == "");
  }
}

TEST_CASE("arch capabilities: a promise that the host does not make is named") {
  CHECK(complaint(kRdclNo, 0).find("promises rdcl_no,") != std::string::npos);
  const std::string moved = complaint(kSapphireRapids, kIceLake);
  CHECK(moved.find("fbsdp_no") != std::string::npos);
  CHECK(moved.find("its_no") != std::string::npos);
  CHECK(moved.find("mds_no") == std::string::npos);
}

TEST_CASE("arch capabilities: what only says that the processor is worse is no promise") {
  CHECK(complaint(kRsba | kRrsba, 0) == "");
}

TEST_CASE("arch capabilities: they go through a section, and may be missing") {
  state::Writer out;
  add_capabilities(out, kSapphireRapids);
  const wire::Bytes bytes = out.finish();
  const auto in = state::Reader::parse(bytes);
  REQUIRE(in);
  const auto value = read_capabilities(*in);
  REQUIRE(value);
  CHECK(*value == kSapphireRapids);
  const wire::Bytes without = state::Writer().finish();
  const auto older = read_capabilities(*state::Reader::parse(without));
  REQUIRE(older);
  CHECK_FALSE(older->has_value());
}

TEST_CASE("arch capabilities: a damaged section, or one of a newer library, is told") {
  CHECK(read_code(state_with(1, wire::Bytes(7))) == ErrorCode::corrupt);
  CHECK(read_code(state_with(1, wire::Bytes(9))) == ErrorCode::corrupt);
  CHECK(read_code(state_with(2, wire::Bytes(8))) == ErrorCode::unsupported);
}

TEST_CASE("arch capabilities: the register is seen on intel's processors alone") {
  for (const HostCpu& host : host_cpus()) {
    INFO(host.name);
    const bool intel = host.leaves.front().ebx == 0x756e6547;
    const bool has = host.name != "Skylake" && intel;
    CHECK(CpuidTable::make(host.leaves, true, 1).shows_arch_capabilities() == has);
  }
}
