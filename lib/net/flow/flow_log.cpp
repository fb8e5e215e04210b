#include "net/flow/flow_log.hpp"

#include <ctime>

namespace microvm::net {
namespace {

uint64_t realtime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

void FlowLog::tell(wire::FlowRecord::What what, wire::FlowProtocol protocol,
                   const wire::NetEndpoint& remote, const Judgement& judgement, FlowBytes bytes) {
  if (!receiver_) return;
  wire::FlowRecord record;
  record.realtime_ns = realtime_ns();
  record.what = what;
  record.protocol = protocol;
  record.remote = remote;
  record.name = judgement.name;
  record.reason = judgement.reason;
  record.bytes_from_guest = bytes.from_guest;
  record.bytes_to_guest = bytes.to_guest;
  receiver_(std::move(record));
}

}  // namespace microvm::net
