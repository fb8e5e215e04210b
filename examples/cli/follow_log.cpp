#include "follow_log.hpp"

namespace cli {

microvm::Result<void> follow_log(microvm::Vm& vm, microvm::LogSource source,
                                 const std::function<void(std::string_view)>& pass_on,
                                 const microvm::CallLimits& limits) {
  auto log = vm.follow_logs(source, limits);
  if (!log) return tl::unexpected(log.error());
  for (;;) {
    const auto piece = log->read(limits);
    if (!piece) return tl::unexpected(piece.error());
    if (!*piece) return {};
    pass_on(**piece);
  }
}

}  // namespace cli
