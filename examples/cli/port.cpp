#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "command.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

// False when this direction is over: its reader got the end, or its writer is gone.
bool copy_some(int from, int to) {
  std::array<char, 32 * 1024> buffer;  // not initialised
  const auto got = ::recv(from, buffer.data(), buffer.size(), 0);
  if (got <= 0) {
    ::shutdown(to, SHUT_WR);
    return false;
  }
  for (ssize_t sent = 0; sent < got;) {
    const auto more =
        ::send(to, buffer.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
    if (more < 0) return false;
    sent += more;
  }
  return true;
}

void copy_one_way(int from, int to) {
  while (copy_some(from, to)) {
  }
}

void relay(Socket client, Socket guest) {
  std::thread back([&] { copy_one_way(guest.get(), client.get()); });
  copy_one_way(client.get(), guest.get());
  back.join();
}

struct PortPair {
  uint16_t host = 0;
  uint16_t guest = 0;
};

std::optional<PortPair> parse_pair(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return std::nullopt;
  const auto host = parse_port(text.substr(0, colon));
  const auto guest = parse_port(text.substr(colon + 1));
  if (!host || !guest) return std::nullopt;
  return PortPair{*host, *guest};
}

Socket listen_on_loopback(uint16_t port) {
  Socket listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.get(), 64) != 0) {
    return Socket(-1);
  }
  return listener;
}

// Until Ctrl-C or the end of the microVM.
int forward(const Context& context, microvm::Vm& vm, const Socket& listener, uint16_t port) {
  for (;;) {
    std::array<pollfd, 2> fds = {pollfd{listener.get(), POLLIN, 0},
                                 pollfd{context.cancel->fd(), POLLIN, 0}};
    ::poll(fds.data(), fds.size(), -1);
    if (context.cancel->cancelled()) return kOk;
    Socket client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client.get() < 0) continue;
    const auto guest = vm.connect(port, context.limits());
    if (!guest) {
      print_error(guest.error().message);
      if (guest.error().code != microvm::ErrorCode::connection_refused) return kFailed;
      continue;
    }
    std::thread(relay, std::move(client), Socket(*guest)).detach();
  }
}

}  // namespace

int port(const Context& context, const Arguments& arguments) {
  OptionParser parser("port", "ID HOSTPORT:GUESTPORT",
                      "Forward a TCP port of 127.0.0.1 to a microVM until Ctrl-C.");
  parser.words(2, 2);
  if (!parser.parse(arguments)) return parser.exit_code();
  const auto ports = parse_pair(parser.found_words()[1]);
  if (!ports) return parser.wrong("not HOSTPORT:GUESTPORT");
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const Socket listener = listen_on_loopback(ports->host);
  if (listener.get() < 0) {
    print_error(fmt::format("listen on 127.0.0.1:{}: {}", ports->host, ::strerrordesc_np(errno)));
    return kFailed;
  }
  say(fmt::format("127.0.0.1:{} -> {}:{}\n", ports->host, vm->id(), ports->guest));
  return forward(context, *vm, listener, ports->guest);
}

}  // namespace cli
