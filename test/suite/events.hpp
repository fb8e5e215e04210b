// What a child that runs test cases tells its parent: one datagram for each event.
#pragma once

#include <optional>
#include <string>

namespace suite {

struct Event {
  enum class Kind : char { begin = 'b', end = 'e', finished = 'f' };
  Kind kind = Kind::begin;
  // begin
  std::string name;
  std::string place;   // file:line
  double limit_s = 0;  // 0: the suite's
  // end
  int asserts = 0;
  int failed_asserts = 0;
  std::string failed;   // why; empty: it has not
  std::string skipped;  // the reason; empty: it was not
};

void send_event(int socket, const Event& event);
// None: nothing is there, or it is no event.
std::optional<Event> receive_event(int socket);

}  // namespace suite
