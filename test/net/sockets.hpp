// What the tests do with a socket, wherever it is: patient, and checked.
#pragma once

#include <string>

#include "base/fd.hpp"

namespace microvm::test {

base::Fd accept_one(const base::Fd& listener);
// What comes next; empty at the end, and on an error, which is in errno.
std::string receive_text(int socket);
void send_text(int socket, const std::string& text);
bool becomes_readable(int fd, int milliseconds = 5000);

}  // namespace microvm::test
