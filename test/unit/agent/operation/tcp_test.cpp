#include "agent/operation/tcp.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "agent/link/relay.hpp"
#include "agent/operation/loopback.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/agent/waiting.hpp"

namespace microvm::agent {
namespace {

// An application in the guest.
class Listener {
 public:
  explicit Listener(bool listening = true) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    socklen_t size = sizeof address;
    getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    if (listening) listen();
  }
  void listen() { ::listen(fd_.get(), 16); }
  [[nodiscard]] uint32_t port() const { return port_; }
  base::Fd accept() { return base::Fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

 private:
  base::Fd fd_;
  uint32_t port_ = 0;
};

void send_connect(OperationClient& client, uint32_t port) {
  const microvm_agent_TcpConnectRequest request{.port = port};
  client.send_message(FrameType::tcp_connect, microvm_agent_TcpConnectRequest_fields, &request);
}

std::string read_to_end(int fd) {
  std::string all;
  std::array<char, 65536> chunk{};
  for (;;) {
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, 10'000) <= 0) return all + "(timeout)";
    const ssize_t count = recv(fd, chunk.data(), chunk.size(), 0);
    if (count < 0) return all + "(broken)";
    if (count == 0) return all;
    all.append(chunk.data(), static_cast<size_t>(count));
  }
}

void send_text(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t count = send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (count <= 0) return;
    at += static_cast<size_t>(count);
  }
}

// Answers as soon as something arrives, and closes without reading it.
void answer_unread(Listener& listener, const std::string& answer) {
  const base::Fd app = listener.accept();
  pollfd request{.fd = app.get(), .events = POLLIN, .revents = 0};
  poll(&request, 1, 10'000);
  send_text(app.get(), answer);
}

std::string wait_port(Guest& guest, uint32_t port, uint32_t timeout_ms) {
  OperationClient client(guest);
  const microvm_agent_WaitPortRequest request{.port = port, .timeout_ms = timeout_ms};
  client.send_message(FrameType::wait_port, microvm_agent_WaitPortRequest_fields, &request);
  const auto frame = client.read();
  if (frame && frame->type == FrameType::ok) return "ok";
  const auto failure = failure_of(frame);
  return failure ? failure->message : "no answer";
}

}  // namespace

TEST_SUITE("agent tcp") {
  TEST_CASE("bytes both ways, half-close both ways") {
    TestGuest guest;
    Listener listener;
    OperationClient client(guest);
    send_connect(client, listener.port());
    const auto ok = client.read();
    REQUIRE(ok);
    CHECK(ok->type == FrameType::ok);
    const base::Fd app = listener.accept();
    send_text(client.fd(), "request");
    shutdown(client.fd(), SHUT_WR);
    CHECK(read_to_end(app.get()) == "request");
    send_text(app.get(), "response");
    shutdown(app.get(), SHUT_WR);
    CHECK(read_to_end(client.fd()) == "response");
  }

  TEST_CASE("the application may end first") {
    TestGuest guest;
    Listener listener;
    OperationClient client(guest);
    send_connect(client, listener.port());
    client.read();
    const base::Fd app = listener.accept();
    send_text(app.get(), "bye");
    shutdown(app.get(), SHUT_WR);
    CHECK(read_to_end(client.fd()) == "bye");
    send_text(client.fd(), "still here");
    shutdown(client.fd(), SHUT_WR);
    CHECK(read_to_end(app.get()) == "still here");
  }

  TEST_CASE("much data both ways with slow readers") {
    TestGuest guest;
    Listener listener;
    OperationClient client(guest);
    send_connect(client, listener.port());
    client.read();
    const base::Fd app = listener.accept();
    std::string data;
    for (uint32_t i = 0; data.size() < 4 * 1024 * 1024; i++) data += std::to_string(i) + ",";
    const auto pour = [&data](int fd) {
      send_text(fd, data);
      shutdown(fd, SHUT_WR);
    };
    std::thread up([&] { pour(client.fd()); });
    std::thread down([&] { pour(app.get()); });
    // Nobody reads, until nothing more goes into any buffer.
    REQUIRE(stands_still([&] { return unread_bytes(app.get()); }));
    REQUIRE(stands_still([&] { return unread_bytes(client.fd()); }));
    std::string at_app;
    std::thread app_reader([&] { at_app = read_to_end(app.get()); });
    CHECK(read_to_end(client.fd()) == data);
    for (auto* thread : {&app_reader, &up, &down}) thread->join();
    CHECK(at_app == data);
  }

  TEST_CASE("a host that is gone ends the application's connection") {
    TestGuest guest;
    Listener listener;
    base::Fd app;
    {
      OperationClient client(guest);
      send_connect(client, listener.port());
      client.read();
      app = listener.accept();
      send_text(client.fd(), "last words");
    }
    CHECK(read_to_end(app.get()) == "last words");
  }

  TEST_CASE("a reset of the application reaches the host") {
    TestGuest guest;
    Listener listener;
    OperationClient client(guest);
    send_connect(client, listener.port());
    client.read();
    base::Fd app = listener.accept();
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    setsockopt(app.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    app.reset();
    CHECK(read_to_end(client.fd()).empty());
  }

  TEST_CASE("an answer to what was not read reaches the host") {
    TestGuest guest;
    Listener listener;
    const std::string request(4 * 1024 * 1024, 'x');
    for (int i = 0; i < 20; i++) {
      OperationClient client(guest);
      send_connect(client, listener.port());
      client.read();
      std::thread app([&] { answer_unread(listener, "413"); });
      send_text(client.fd(), request);
      CHECK(read_to_end(client.fd()).substr(0, 3) == "413");
      app.join();
    }
  }

  // It pours all of its request before it reads, and its stream holds less than the answer.
  TEST_CASE("an answer to what was not read reaches a slow host whole") {
    Listener listener;
    auto tcp = connect_loopback(listener.port());
    REQUIRE(tcp);
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    const base::Fd client(ends[0]);
    const int smallest = 0;
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest);
    std::atomic<uint64_t> moved_bytes{0};
    std::thread relaying([&] { relay(base::Fd(ends[1]), std::move(*tcp), moved_bytes); });
    const std::string answer(50'000, 'a');
    std::thread app([&] { answer_unread(listener, answer); });
    send_text(client.get(), std::string(4 * 1024 * 1024, 'x'));
    CHECK(read_to_end(client.get()).substr(0, answer.size()) == answer);
    app.join();
    relaying.join();
  }

  TEST_CASE("nothing listens") {
    TestGuest guest;
    Listener closed(false);
    for (const auto& [port, error] : {std::pair<uint32_t, int>{closed.port(), ECONNREFUSED},
                                      {0u, EINVAL},
                                      {65'536u, EINVAL},
                                      {4'000'000'000u, EINVAL}}) {
      CAPTURE(port);
      OperationClient client(guest);
      send_connect(client, port);
      const auto failure = failure_of(client.read());
      REQUIRE(failure);
      CHECK(failure->error == error);
      CHECK(std::string(failure->message).find("port " + std::to_string(port)) == 0);
    }
  }

  TEST_CASE("waiting for a port") {
    TestGuest guest;
    Listener listener(false);
    CHECK(wait_port(guest, listener.port(), 50) ==
          "port " + std::to_string(listener.port()) + ": nothing listens after 50 ms");
    std::thread later([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      listener.listen();
    });
    CHECK(wait_port(guest, listener.port(), 10'000) == "ok");
    later.join();
    CHECK(wait_port(guest, 70'000, 10'000) == "port 70000: invalid argument");
  }
}

}  // namespace microvm::agent
