// /etc/resolv.conf. As with a container, the image's own stays on its disk as it is: a file in
// memory is mounted on it, which programs of the image may write to.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/base/failed.hpp"
#include "agent/network/interface.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// `search`: domains, a space between them; may be empty.
[[nodiscard]] std::string resolver_text(const std::vector<IpAddress>& servers,
                                        std::string_view search);

class ResolverFile {
 public:
  // Mounts it in `root`; `staging` is an empty directory to mount on for a moment. Where the image
  // has no such file, an empty one is made to be mounted on; links are followed inside the root.
  [[nodiscard]] Outcome<void> mount(int root, const char* staging);
  // New content for it, when it is not what was written last: until then a program's own stays.
  [[nodiscard]] Outcome<void> write(std::string_view content);

 private:
  base::Fd file_;
  std::string written_;
};

}  // namespace microvm::agent
