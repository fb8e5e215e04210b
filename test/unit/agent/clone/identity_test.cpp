#include "agent/clone/identity.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>

#include "agent/operation/doorbell.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/agent/temporary_root.hpp"

// Only the parts that leave this machine's own identity alone: the rest is tested in real guests.
namespace microvm::agent {
namespace {

const std::string kOldId(32, '0');
const std::string kNewId = "0123456789abcdef0123456789abcdef";

microvm_agent_Identity identity_of(const std::string& machine_id) {
  microvm_agent_Identity identity = microvm_agent_Identity_init_zero;
  copy_text(identity.machine_id, machine_id);
  return identity;
}

}  // namespace

TEST_SUITE("agent identity") {
  TEST_CASE("machine-id is made, overwritten, replaced") {
    const TemporaryRoot root;
    std::filesystem::create_directories(root / "etc");
    apply_identity(root.fd(), identity_of(kNewId));
    CHECK(root.read("etc/machine-id") == kNewId + "\n");
    CHECK((std::filesystem::status(root / "etc/machine-id").permissions() ==
           static_cast<std::filesystem::perms>(0444)));
    for (const std::string& old :
         {kOldId + "\n", std::string(), std::string("uninitialized\n"), std::string(100, 'x')}) {
      std::filesystem::remove(root / "etc/machine-id");
      root.write("etc/machine-id", old);
      apply_identity(root.fd(), identity_of(kNewId));
      CHECK(root.read("etc/machine-id") == kNewId + "\n");
    }
  }

  TEST_CASE("machine-id does not follow a link") {
    const TemporaryRoot root;
    root.write("etc/other", kOldId + "\n");
    std::filesystem::create_symlink("other", root / "etc/machine-id");
    apply_identity(root.fd(), identity_of(kNewId));
    CHECK(root.read("etc/other") == kOldId + "\n");
    CHECK(root.read("etc/machine-id") == kNewId + "\n");
  }

  TEST_CASE("what is no machine-id is not applied") {
    const TemporaryRoot root;
    root.write("etc/machine-id", kOldId + "\n");
    for (const std::string bad :
         {"", "0123", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcde\n"})
      apply_identity(root.fd(), identity_of(bad));
    CHECK(root.read("etc/machine-id") == kOldId + "\n");
  }
}

TEST_SUITE("agent doorbell") {
  TEST_CASE("hello, identity, ready; programs run from there on") {
    const TemporaryRoot root;
    std::filesystem::create_directories(root / "etc");
    Guest guest;
    guest.root_fd = root.fd();
    std::array<int, 2> fds{};
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data());
    std::thread agent([&] { serve_doorbell(guest, Channel(base::Fd(fds[1]))); });
    std::atomic<bool> gate_open{false};
    std::thread program([&] {
      guest.freezer.wait_until_running();
      gate_open = true;
    });

    Channel host{base::Fd(fds[0])};
    const auto hello_body = host.read_frame(FrameType::hello);
    REQUIRE(hello_body);
    microvm_agent_Hello hello = microvm_agent_Hello_init_zero;
    REQUIRE(decode_message(*hello_body, microvm_agent_Hello_fields, &hello));
    CHECK(hello.agent_version == wire::kAgentVersion);
    CHECK_FALSE(hello.restored);
    CHECK_FALSE(gate_open);

    const auto identity = identity_of(kNewId);
    host.send_message(FrameType::identity, microvm_agent_Identity_fields, &identity);
    REQUIRE(host.read_frame(FrameType::ready));
    program.join();
    CHECK(gate_open);
    CHECK(root.read("etc/machine-id") == kNewId + "\n");

    REQUIRE(guest.freezer.freeze());
    CHECK(guest.freezer.frozen());
    host.send_message(FrameType::identity, microvm_agent_Identity_fields, &identity);
    REQUIRE(host.read_frame(FrameType::ready));
    CHECK_FALSE(guest.freezer.frozen());

    host.send_empty(FrameType::exec);
    CHECK_FALSE(host.read_header());
    agent.join();
  }

  TEST_CASE("a frozen guest says that it was restored") {
    Guest guest;
    REQUIRE(guest.freezer.freeze());
    std::array<int, 2> fds{};
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data());
    std::thread agent([&] { serve_doorbell(guest, Channel(base::Fd(fds[1]))); });
    Channel host{base::Fd(fds[0])};
    microvm_agent_Hello hello = microvm_agent_Hello_init_zero;
    REQUIRE(decode_message(*host.read_frame(FrameType::hello), microvm_agent_Hello_fields, &hello));
    CHECK(hello.restored);
    host.take().reset();
    agent.join();
    CHECK(guest.freezer.frozen());
  }
}

}  // namespace microvm::agent
