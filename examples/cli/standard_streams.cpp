#include "standard_streams.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace cli {

// An opened file gets the lowest number that is free.
void open_missing_streams() {
  int fd = -1;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

}  // namespace cli
