#include "net/policy/address.hpp"

#include <doctest/doctest.h>

#include "made_policy.hpp"

using namespace microvm;
using namespace microvm::net;
using namespace microvm::test;

TEST_CASE("address: what is of the internet, in all its forms") {
  const HostAddresses host({address("203.0.113.7"), address("2001:db8::7")});
  for (const char* text : {
           "1.1.1.1",
           "93.184.216.34",
           "9.255.255.255",
           "11.0.0.0",
           "100.63.255.255",
           "100.128.0.0",
           "126.255.255.255",
           "128.0.0.0",
           "169.253.255.255",
           "169.255.0.0",
           "172.15.255.255",
           "172.32.0.0",
           "192.0.1.0",
           "192.167.255.255",
           "192.169.0.0",
           "198.17.255.255",
           "198.20.0.0",
           "223.255.255.255",
           // documentation
           "192.0.2.1",
           "198.51.100.1",
           "203.0.113.8",
           "2001:db8::8",
           "3fff::1",
           "2606:4700:4700::1111",
           "2001:200::1",
           "2001:4860:4860::8888",
           // NAT64 and 6to4 of such an address
           "64:ff9b::1.1.1.1",
           "2002:101:101::1",
       }) {
    CAPTURE(text);
    CHECK(host.leaves_to_internet(address(text)));
  }
  for (const char* text : {
           "0.0.0.0",
           "0.1.2.3",
           "10.0.0.1",
           "10.255.255.255",
           "100.64.0.1",
           "100.127.255.255",
           "127.0.0.1",
           "127.255.255.255",
           "169.254.169.254",
           "172.16.0.1",
           "172.31.255.255",
           "192.0.0.8",
           "192.88.99.1",
           "192.168.1.1",
           "198.18.0.1",
           "198.19.255.255",
           "224.0.0.1",
           "239.255.255.250",
           "240.0.0.1",
           "255.255.255.255",
           "203.0.113.7",
           "::",
           "::1",
           "::2",
           "fe80::1",
           "febf::1",
           "fec0::1",
           "fc00::1",
           "fd00:ec2::254",
           "ff02::1",
           "ff0e::1",
           "100::1",
           "4000::1",
           "5f00::1",
           "2001::1",
           "2001:2::1",
           "2001:10::1",
           "2001:20::1",
           "2001:db8::7",
           // NAT64, with the common prefix and local ones
           "64:ff9b::127.0.0.1",
           "64:ff9b::a9fe:a9fe",
           "64:ff9b::10.1.2.3",
           "64:ff9b::192.168.1.1",
           "64:ff9b::100.64.0.1",
           "64:ff9b::203.0.113.7",
           "64:ff9b::0.0.0.0",
           "64:ff9b::224.0.0.1",
           "64:ff9b:1::1.1.1.1",
           "64:ff9b:1:a00:1:200::",
           // translated, compatible
           "::ffff:0:127.0.0.1",
           "::ffff:0:1.1.1.1",
           "::127.0.0.1",
           "::1.1.1.1",
           // 6to4
           "2002:7f00:1::1",
           "2002:a9fe:a9fe::1",
           "2002:a01:203::",
           "2002:c0a8:101::1",
           "2002:cb00:7107::1",
           "2002:e000:1::1",
           // ISATAP, also in a 6to4 prefix
           "2606:4700::5efe:127.0.0.1",
           "2606:4700::200:5efe:10.0.0.1",
           "2002:101:101::5efe:169.254.169.254",
           // Teredo
           "2001:0:4136:e378:8000:63bf:f5ff:fffe",
       }) {
    CAPTURE(text);
    CHECK_FALSE(host.leaves_to_internet(address(text)));
  }
  CHECK(host.leaves_to_internet(address("::ffff:1.1.1.1")));
  CHECK_FALSE(host.leaves_to_internet(address("::ffff:127.0.0.1")));
}

TEST_CASE("address: within a prefix, of its own kind only") {
  struct Row {
    const char* address;
    const char* prefix;
    uint8_t bits;
    bool is_within;
  };
  const Row rows[] = {
      {"10.1.2.3", "10.0.0.0", 104, true},     {"11.1.2.3", "10.0.0.0", 104, false},
      {"10.1.2.3", "10.1.2.3", 128, true},     {"10.1.2.4", "10.1.2.3", 128, false},
      {"10.1.2.3", "10.1.2.2", 127, true},     {"10.1.2.3", "10.1.2.0", 119, true},
      {"10.1.3.3", "10.1.2.0", 119, true},     {"10.1.4.3", "10.1.2.0", 119, false},
      {"10.1.2.3", "0.0.0.0", 96, true},       {"10.1.2.3", "::", 0, false},
      {"2001:db8::1", "::", 0, true},          {"2001:db8::1", "0.0.0.0", 96, false},
      {"2001:db8::1", "2001:db8::", 32, true}, {"2001:db9::1", "2001:db8::", 32, false},
      {"2001:db9::1", "2001:db8::", 31, true}, {"2001:db8::1", "2001:db8::1", 128, true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.address);
    CAPTURE(row.prefix);
    CAPTURE(row.bits);
    CHECK(is_within(address(row.address), address(row.prefix), row.bits) == row.is_within);
  }
}
