// network: what a microVM may reach, and what goes there.
#include <fmt/core.h>
#include <unistd.h>

#include <array>

#include "command.hpp"
#include "json.hpp"
#include "network_options.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"

namespace cli {
namespace {

using microvm::FlowRecord;
using microvm::NetworkInfo;
using microvm::NetworkMode;

Json network_to_json(const NetworkInfo& info) {
  Json report = {{"mode", microvm::network_mode_name(info.mode)}};
  if (info.mode == NetworkMode::tap) {
    report.set("tap", info.tap);
    report.set("mac", info.mac);
  }
  if (info.mode != NetworkMode::user) return report;
  report.set("running", info.is_running);
  report.set("otherwise", microvm::network_default_name(info.policy.otherwise));
  report.set("rules", info.policy.rules);
  report.set("bytes_per_second", info.policy.bytes_per_second);
  report.set("flows_per_second", info.policy.flows_per_second);
  report.set("open_flows", info.policy.open_flows);
  report.set("counters", to_json(info.counters));
  return report;
}

void print_network(const NetworkInfo& info) {
  fmt::print("network {}\n", microvm::network_mode_name(info.mode));
  if (info.mode == NetworkMode::tap) {
    fmt::print("tap     {}, MAC {}\n", info.tap.empty() ? "(an fd)" : info.tap, info.mac);
  }
  if (info.mode != NetworkMode::user) return;
  for (const std::string& rule : info.policy.rules) fmt::print("rule    {}\n", rule);
  fmt::print("else    {}\n", microvm::network_default_name(info.policy.otherwise));
  if (info.policy.bytes_per_second != 0) {
    fmt::print("limit   {}/s\n", human_size(info.policy.bytes_per_second));
  }
  if (info.policy.flows_per_second != 0) {
    fmt::print("limit   {} new connections/s\n", info.policy.flows_per_second);
  }
  fmt::print("limit   {} connections\n", info.policy.open_flows);
  if (!info.is_running) {
    fmt::print("traffic none: the guest's first packet starts its network\n");
    return;
  }
  const auto& seen = info.counters;
  fmt::print("traffic {} from the guest, {} to it\n", human_size(seen.bytes_from_guest),
             human_size(seen.bytes_to_guest));
  fmt::print("flows   {}, {} open, {} refused by rule, {} by limit, {} failed\n", seen.flows,
             seen.flows_open, seen.flows_refused_by_rule, seen.flows_refused_by_limit,
             seen.flows_failed);
  fmt::print("names   {} asked for, {} failed\n", seen.dns_queries, seen.dns_failed);
}

std::string flow_to_line(const FlowRecord& flow) {
  std::string what = flow.name;
  if (!flow.address.empty()) {
    const bool is_ipv6 = flow.address.find(':') != std::string::npos;
    what = fmt::format(fmt::runtime(is_ipv6 ? "{} [{}]:{}" : "{} {}:{}"), flow.protocol,
                       flow.address, flow.port);
    if (!flow.name.empty()) what += " " + flow.name;
  }
  std::string line =
      fmt::format("{} {:<7} {}", flow.time, microvm::flow_kind_name(flow.kind), what);
  if (flow.kind == FlowRecord::Kind::ended) {
    line += fmt::format(" ({} out, {} in)", human_size(flow.bytes_from_guest),
                        human_size(flow.bytes_to_guest));
  }
  if (!flow.reason.empty()) line += ": " + flow.reason;
  if (flow.lost != 0) line += fmt::format(" [{} before it were missed]", flow.lost);
  return line + "\n";
}

std::string flow_to_json_line(const FlowRecord& flow) {
  const Json line = {{"time", flow.time},
                     {"what", microvm::flow_kind_name(flow.kind)},
                     {"protocol", flow.protocol},
                     {"address", flow.address},
                     {"port", flow.port},
                     {"name", flow.name},
                     {"reason", flow.reason},
                     {"bytes_from_guest", flow.bytes_from_guest},
                     {"bytes_to_guest", flow.bytes_to_guest},
                     {"lost", flow.lost}};
  return line.line() + "\n";
}

int network_show(const Context& context, const Arguments& arguments) {
  OptionParser parser("network show", "[--json] ID", "Show a microVM's network and its traffic.",
                      "Traffic and flows count from the start or resume of its network.");
  parser.flag("json", "Print JSON").words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const auto info = vm->network(context.limits());
  if (!info) return fail(info.error());
  if (parser.has("json")) {
    print_json(network_to_json(*info));
  } else {
    print_network(*info);
  }
  return kOk;
}

int network_set(const Context& context, const Arguments& arguments) {
  OptionParser parser("network set", "[OPTIONS] ID", "Replace what a microVM may reach, at once.",
                      kNetworkNotes);
  add_policy_options(parser);
  parser.words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  microvm::NetworkPolicy policy;
  if (const auto problem = read_policy_options(parser, policy)) return parser.wrong(*problem);
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  const auto done = vm->set_network_policy(policy, context.limits());
  return done ? kOk : fail(done.error());
}

int network_log(const Context& context, const Arguments& arguments) {
  OptionParser parser("network log", "[-f] [--json] ID",
                      "Show a microVM's connections as they come, until it ends or Ctrl-C.");
  parser.flag("f,follow", "Accepted for the habit; always so")
      .flag("json", "Print one JSON per line")
      .words(1, 1);
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(parser.found_words()[0]);
  if (!vm) return fail(vm.error());
  auto flows = vm->flows(context.limits());
  if (!flows) return fail(flows.error());
  OutputStream out(STDOUT_FILENO, *context.cancel);
  for (;;) {
    const auto flow = flows->next(context.limits());
    if (!flow) return context.cancel->cancelled() ? kOk : fail(flow.error());
    if (!*flow) return kOk;
    const bool json = parser.has("json");
    if (!out.write(json ? flow_to_json_line(**flow) : flow_to_line(**flow))) {
      return out.give_up(kFailed);
    }
  }
}

constexpr std::array kNetworkCommands = {
    Command{"show", "Show a microVM's network and its traffic", network_show},
    Command{"set", "Replace what a microVM may reach", network_set},
    Command{"log", "Show its connections as they come", network_log},
};

}  // namespace

int network(const Context& context, const Arguments& arguments) {
  return dispatch(context, arguments, "network", kNetworkCommands);
}

}  // namespace cli
