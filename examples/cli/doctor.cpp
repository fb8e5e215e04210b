#include <fmt/core.h>

#include "command.hpp"
#include "json.hpp"
#include "microvm/probe.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

using Status = microvm::ProbeItem::Status;

const char* status_name(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::degraded:
      return "degraded";
    case Status::missing:
      return "missing";
  }
  return "unknown";
}

void print_items(const std::vector<microvm::ProbeItem>& items) {
  for (const auto& item : items) {
    fmt::print("{:<9} {:<13} {}\n", status_name(item.status), item.name, item.detail);
    if (!item.advice.empty()) fmt::print("{:23} -> {}\n", "", item.advice);
  }
}

// Scripts ask for .kvm.usable; the rest has one shape for all.
Json items_to_json(const std::vector<microvm::ProbeItem>& items) {
  Json report = Json::object();
  for (const auto& item : items) {
    Json entry = {
        {"status", status_name(item.status)}, {"detail", item.detail}, {"advice", item.advice}};
    if (item.name == "kvm") {
      entry.set("usable", item.status == Status::ok);
      entry.set("reason", item.status == Status::ok ? "" : item.detail);
    }
    report.set(item.name, entry);
  }
  return report;
}

}  // namespace

int doctor(const Context& context, const Arguments& arguments) {
  OptionParser parser("doctor", "[--json]", "Check what this host can do, and say what to change.",
                      "Exit status: 0 when microVMs run here, 1 when not.");
  parser.flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  const auto items = microvm::probe_host(context.runtime.data_dir);
  if (parser.has("json")) {
    print_json(items_to_json(items));
  } else {
    print_items(items);
  }
  for (const auto& item : items) {
    if (item.name == "kvm" && item.status != Status::ok) return kFailed;
  }
  return kOk;
}

}  // namespace cli
