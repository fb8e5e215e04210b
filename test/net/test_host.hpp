// The world of these tests: a network namespace that plays the host and all that is behind it.
// Every address there is at home, so a listener on 93.184.216.34 is the internet.
#pragma once

#include <string>

#include "base/fd.hpp"
#include "wire/net.hpp"

namespace microvm::test {

// Once in a process, before it has threads: it stays there. False: this machine makes no namespaces
// (the case is skipped then).
bool enter_test_host();

// "93.184.216.34", "2606:2800::1".
wire::NetEndpoint endpoint(const std::string& address, uint16_t port);

// Who may ping, for net.ipv4.ping_group_range.
std::string own_group_range();
// An interface of the host has this IPv4 address from now on.
void add_host_address(const std::string& address);

// Blocking sockets of the test host, for servers; a port of 0: any. Checks that it worked.
base::Fd listen_tcp(const wire::NetEndpoint& at);
base::Fd bind_udp(const wire::NetEndpoint& at);
wire::NetEndpoint local_endpoint(int socket);

}  // namespace microvm::test
