// What is new gets its content under a name of its own and then takes its place in one step:
// others see what was there or what is new, never a part.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <ctime>
#include <string>

#include "agent/files/place.hpp"

namespace microvm::agent {

struct Attributes {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0;
};

// Rounded down, so that the nanoseconds are not negative before 1970.
[[nodiscard]] timespec time_of_ns(int64_t ns);

// Sets owner and mode of an open file; the owner first, as that takes set-user-id bits away. False:
// errno says why.
[[nodiscard]] bool set_attributes(int fd, const Attributes& attributes);

class Replacement {
 public:
  // `shown` is the path for messages.
  Replacement(const Place& place, std::string shown);
  ~Replacement();  // removes what was not committed
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;

  [[nodiscard]] const char* name() const { return name_.c_str(); }
  // A new regular file under that name, open for writing, for its maker alone until it is given
  // its attributes.
  [[nodiscard]] Outcome<base::Fd> create() const;
  enum class Existing { replaced, kept };  // kept: EEXIST when something is there
  [[nodiscard]] Outcome<void> commit(Existing existing = Existing::replaced);
  [[nodiscard]] tl::unexpected<Failed> failed(int error = errno) const;

 private:
  const Place& place_;
  std::string shown_;
  std::string name_;
};

}  // namespace microvm::agent
