#include "host/saved/how_it_ended.hpp"

#include <doctest/doctest.h>

#include <utility>

using namespace microvm;
using namespace microvm::host;
using Reason = wire::ExitEvent::Reason;

TEST_CASE("vm record: how a worker ended, as a value and in words") {
  const std::pair<Reason, VmEnd> ends[] = {
      {Reason::terminated, VmEnd::terminated}, {Reason::power_off, VmEnd::powered_off},
      {Reason::reset, VmEnd::reset},           {Reason::panic, VmEnd::panicked},
      {Reason::triple_fault, VmEnd::crashed},  {Reason::internal_error, VmEnd::crashed},
      {Reason::suspended, VmEnd::terminated},
  };
  for (const auto& [reason, end] : ends) {
    const auto described = end_reason({reason, "why"});
    INFO(described.reason);
    CHECK(described.end == end);
    CHECK_FALSE(described.reason.empty());
    CHECK(std::string(vm_end_name(end)) != "unknown");
  }
  CHECK(end_reason({Reason::panic, "no init"}).reason == "the guest's kernel panicked: no init");
  CHECK(killed_reason().end == VmEnd::killed);
  CHECK(killed_reason("killed by SIGKILL").reason == "killed by SIGKILL");
  CHECK(std::string(vm_end_name(VmEnd::none)) == "none");
  CHECK(std::string(vm_end_name(VmEnd::killed)) == "killed");
}
