// Which clock a new guest goes by.
#pragma once

#include <string>
#include <string_view>

namespace microvm::host {

// What this host's kernel keeps time with (/sys/devices/system/clocksource); empty when it does not
// say.
[[nodiscard]] std::string host_clocksource();

// Arguments for the guest's kernel. Where the host's kernel trusts the TSC the guest may as well:
// it is the fastest clock, and cannot be checked against another in there. Elsewhere (a processor
// whose TSCs drift apart or stop, a host that is a guest itself and has kvm-clock) the guest's time
// could run backwards from one vCPU to the next: it goes by the paravirtual clock, which cannot.
//
// That is for good: an image that was built on a host of the first kind keeps to the TSC on one of
// the second, too. With one vCPU its time is right there, with more of them it may step back by
// what the host's TSCs differ; such an image is built again on that host.
[[nodiscard]] std::string clock_arguments(std::string_view host_clocksource);

}  // namespace microvm::host
