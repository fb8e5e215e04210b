#include "net/flow/flow_log.hpp"

#include <ctime>

namespace microvm::net {
namespace {

uint64_t realtime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// The name that it showed, else the one that the guest asked for last.
std::string name_of(const FlowFacts& facts) {
  if (facts.shown.kind == ShownName::Kind::name) return facts.shown.name;
  return facts.known_as.empty() ? std::string() : facts.known_as.back();
}

}  // namespace

void FlowLog::tell(wire::FlowRecord::What what, const FlowFacts& facts, const std::string& reason,
                   FlowBytes bytes) {
  if (!receiver_) return;
  wire::FlowRecord record;
  record.realtime_ns = realtime_ns();
  record.what = what;
  record.protocol = facts.protocol;
  record.remote = {facts.address, facts.port};
  record.name = name_of(facts);
  record.reason = reason;
  record.bytes_from_guest = bytes.from_guest;
  record.bytes_to_guest = bytes.to_guest;
  receiver_(std::move(record));
}

}  // namespace microvm::net
