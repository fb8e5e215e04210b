#include "suite/events.hpp"

#include <sys/socket.h>

#include <array>
#include <sstream>

namespace suite {
namespace {

constexpr size_t kMaxEventBytes = 4096;

// Fields are lines, so none may have two.
std::string one_line(std::string text) {
  for (char& byte : text) {
    if (byte == '\n') byte = ' ';
  }
  return text.substr(0, kMaxEventBytes / 8);
}

}  // namespace

void send_event(int socket, const Event& event) {
  std::ostringstream out;
  out << static_cast<char>(event.kind) << '\n'
      << one_line(event.name) << '\n'
      << one_line(event.place) << '\n'
      << one_line(event.failed) << '\n'
      << one_line(event.skipped) << '\n'
      << event.limit_s << ' ' << event.asserts << ' ' << event.failed_asserts;
  const std::string text = out.str();
  [[maybe_unused]] const ssize_t sent = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
}

std::optional<Event> receive_event(int socket) {
  std::array<char, kMaxEventBytes> bytes{};
  const ssize_t count = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (count <= 0) return std::nullopt;
  std::istringstream in(std::string(bytes.data(), static_cast<size_t>(count)));
  Event event;
  std::string kind;
  std::getline(in, kind);
  std::getline(in, event.name);
  std::getline(in, event.place);
  std::getline(in, event.failed);
  std::getline(in, event.skipped);
  in >> event.limit_s >> event.asserts >> event.failed_asserts;
  if (in.fail() || kind.size() != 1) return std::nullopt;
  event.kind = static_cast<Event::Kind>(kind[0]);
  return event;
}

}  // namespace suite
