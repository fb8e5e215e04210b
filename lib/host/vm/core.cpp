#include "host/vm/core.hpp"

#include <cstdlib>
#include <filesystem>

#include "host/saved/vm_directory.hpp"
#include "host/store/event_log.hpp"
#include "host/store/rfc3339.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace

Result<fs::path> default_data_dir() {
  if (const auto dir = environment("MICROVM_DATA_DIR"); !dir.empty()) return fs::path(dir);
  if (const auto dir = environment("XDG_DATA_HOME"); !dir.empty()) {
    return fs::path(dir) / "libmicrovm";
  }
  if (const auto home = environment("HOME"); !home.empty()) {
    return fs::path(home) / ".local" / "share" / "libmicrovm";
  }
  return base::fail(ErrorCode::invalid_argument,
                    "no data directory: give one, or set MICROVM_DATA_DIR or HOME");
}

void Core::emit(VmEvent event) const {
  event.time = rfc3339_now();
  append_event(store.data_dir(), event);
  if (event_sink) event_sink(event);
}

Result<std::shared_ptr<Core>> Core::open(const RuntimeOptions& options, const Limits& limits) {
  const auto dir = options.data_dir.empty() ? default_data_dir() : options.data_dir;
  if (!dir) return base::fail(dir.error());
  std::error_code ec;
  const fs::path absolute = fs::absolute(*dir, ec);
  auto store = Store::open(ec ? *dir : absolute);
  if (!store) return base::fail(store.error());
  if (auto ok = limits.check("open the runtime"); !ok) return base::fail(ok.error());
  auto reactor = Reactor::create();
  if (!reactor) return base::fail(reactor.error());
  auto trace_file = TraceFile::from_environment();
  if (!trace_file) return base::fail(trace_file.error());
  auto core = std::make_shared<Core>(std::move(*store), std::move(*reactor), options);
  core->trace_file = std::move(*trace_file);
  for (const DeadVm& dead : collect_dead_vms(core->store)) {
    core->emit({.vm_id = dead.id,
                .kind = VmEvent::Kind::terminated,
                .cause = std::string(cause_of_end(dead.reason, true)),
                .detail = dead.reason.reason,
                .end = dead.reason.end});
  }
  return core;
}

}  // namespace microvm::host
