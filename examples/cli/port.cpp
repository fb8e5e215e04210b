#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
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

void relay(const Socket& client, const Socket& guest) {
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

// Where all connections go. The thread of each has a copy, which shares everything with the others.
struct Target {
  microvm::Vm vm;
  uint16_t port;
  microvm::CancelToken interrupted;  // Ctrl-C
  microvm::CancelToken ended{};      // the microVM has
  // Held by each that calls the library: a resume is not left in the middle.
  std::shared_ptr<std::shared_mutex> connecting = std::make_shared<std::shared_mutex>();
};

// Says why when there is none.
std::optional<Socket> connect(Target& target) {
  const std::shared_lock busy(*target.connecting);
  const auto guest = target.vm.connect(target.port, {&target.interrupted, {}});
  if (guest) return Socket(*guest);
  if (target.interrupted.cancelled()) return std::nullopt;
  print_error(guest.error().message);
  const auto info = target.vm.info();
  if (!info || info->state == microvm::VmState::terminated) target.ended.cancel();
  return std::nullopt;
}

// Here and not where it was accepted: a guest that is slow holds no other connection up.
void serve(const Socket& client, Target target) {
  if (const auto guest = connect(target)) relay(client, *guest);
}

// Until Ctrl-C, or a connection finds that the microVM has ended.
int forward(const Target& target, const Socket& listener) {
  for (;;) {
    std::array<pollfd, 3> fds = {pollfd{listener.get(), POLLIN, 0},
                                 pollfd{target.interrupted.fd(), POLLIN, 0},
                                 pollfd{target.ended.fd(), POLLIN, 0}};
    ::poll(fds.data(), fds.size(), -1);
    if (target.interrupted.cancelled()) return kOk;
    if (target.ended.cancelled()) return kFailed;
    if (fds[0].revents == 0) continue;
    Socket client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client.get() >= 0) std::thread(serve, std::move(client), target).detach();
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
  const Target target{*vm, ports->guest, *context.cancel};
  const int code = forward(target, listener);
  const std::unique_lock none_connects(*target.connecting);
  return code;
}

}  // namespace cli
