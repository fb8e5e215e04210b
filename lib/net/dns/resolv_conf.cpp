#include "net/dns/resolv_conf.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "net/names/domain_name.hpp"

namespace microvm::net {
namespace {

constexpr std::string_view kBlanks = " \t\r\v\f";
constexpr unsigned kMaxNdots = 15;
constexpr unsigned kMaxTimeoutSeconds = 30;
constexpr unsigned kMaxAttempts = 5;

std::string_view next_word(std::string_view& line) {
  line.remove_prefix(std::min(line.size(), line.find_first_not_of(kBlanks)));
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

std::optional<wire::Ipv6Address> read_address(const std::string& text) {
  wire::Ipv6Address address{};
  if (::inet_pton(AF_INET6, text.c_str(), address.data()) == 1) return address;
  address[10] = address[11] = 0xff;
  if (::inet_pton(AF_INET, text.c_str(), address.data() + 12) == 1) return address;
  return std::nullopt;
}

void add_nameserver(ResolvConf& conf, std::string_view word) {
  const size_t percent = word.find('%');
  const auto address = read_address(std::string(word.substr(0, percent)));
  if (!address || conf.nameservers.size() >= kMaxNameservers) return;
  Nameserver server;
  server.address = *address;
  if (percent != std::string_view::npos) server.scope = word.substr(percent + 1);
  conf.nameservers.push_back(std::move(server));
}

// The last such line counts.
void set_search(ResolvConf& conf, std::string_view line, size_t max) {
  conf.search.clear();
  for (auto word = next_word(line); !word.empty(); word = next_word(line)) {
    auto domain = canonical_name(word);
    if (domain && conf.search.size() < max) conf.search.push_back(std::move(*domain));
  }
}

void set_number(unsigned& out, std::string_view option, std::string_view name, unsigned max) {
  if (!option.starts_with(name)) return;
  option.remove_prefix(name.size());
  unsigned value = 0;
  const auto [end, error] = std::from_chars(option.data(), option.data() + option.size(), value);
  if (error == std::errc::result_out_of_range) value = max;
  if (error == std::errc::invalid_argument) return;
  out = std::min(value, max);
}

void set_options(ResolvConf& conf, std::string_view line) {
  auto timeout = static_cast<unsigned>(conf.timeout.count());
  for (auto option = next_word(line); !option.empty(); option = next_word(line)) {
    set_number(conf.ndots, option, "ndots:", kMaxNdots);
    set_number(timeout, option, "timeout:", kMaxTimeoutSeconds);
    set_number(conf.attempts, option, "attempts:", kMaxAttempts);
    if (option == "use-vc") conf.uses_tcp = true;
  }
  conf.timeout = std::chrono::seconds(std::max(timeout, 1u));
  conf.attempts = std::max(conf.attempts, 1u);
}

// A keyword stands at the beginning of its line.
void read_line(ResolvConf& conf, std::string_view line) {
  const std::string_view keyword = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(keyword.size());
  if (keyword == "nameserver") add_nameserver(conf, next_word(line));
  if (keyword == "search") set_search(conf, line, kMaxSearchDomains);
  if (keyword == "domain") set_search(conf, line, 1);
  if (keyword == "options") set_options(conf, line);
}

}  // namespace

ResolvConf parse_resolv_conf(std::string_view text) {
  ResolvConf conf;
  text = text.substr(0, kMaxResolvConfBytes);
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (!line.starts_with('#') && !line.starts_with(';')) read_line(conf, line);
  }
  if (conf.nameservers.empty()) add_nameserver(conf, "127.0.0.1");
  return conf;
}

}  // namespace microvm::net
