#include "agent/program/user.hpp"

#include <array>
#include <charconv>
#include <optional>

#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kMaxDatabaseBytes = 1024 * 1024;

// Cuts the next piece off the front of `rest`.
std::string_view take_until(std::string_view& rest, char separator) {
  const size_t end = rest.find(separator);
  const std::string_view piece = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return piece;
}

// (uid_t)-1 means "unchanged" to the kernel and is nobody's.
std::optional<uint32_t> parse_id(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value == UINT32_MAX) return std::nullopt;
  return value;
}

// passwd: name:password:uid:gid:comment:home:shell; group: name:password:gid:members
using Fields = std::array<std::string_view, 7>;

Fields split_line(std::string_view line) {
  Fields fields;
  for (auto& field : fields) field = take_until(line, ':');
  return fields;
}

// Calls visit(fields) for each line until it returns true.
template <class Visit>
bool any_line(std::string_view content, Visit visit) {
  while (!content.empty()) {
    if (visit(split_line(take_until(content, '\n')))) return true;
  }
  return false;
}

// A missing database is an empty one: images without it exist.
std::string read_database(int root, const char* path) {
  auto content = read_file(root, path, kMaxDatabaseBytes);
  return content ? std::move(*content) : std::string();
}

// Fills the user and returns the name in the database, empty when there is none.
Outcome<std::string> find_in_passwd(int root, std::string_view wanted, User& user) {
  const std::string passwd = read_database(root, "/etc/passwd");
  const auto wanted_uid = parse_id(wanted);
  std::string name;
  const bool found = any_line(passwd, [&](const Fields& fields) {
    const auto uid = parse_id(fields[2]);
    const auto gid = parse_id(fields[3]);
    if (!uid || !gid || (fields[0] != wanted && uid != wanted_uid)) return false;
    user.uid = *uid;
    user.gid = *gid;
    if (!fields[5].empty()) user.home = fields[5];
    user.shell = fields[6];
    name = fields[0];
    return true;
  });
  if (!found && !wanted_uid)
    return fail("user \"" + std::string(wanted) + "\": not in the image's /etc/passwd", ENOENT);
  if (!found) user.uid = *wanted_uid;
  return name;
}

Outcome<gid_t> find_group(int root, std::string_view wanted) {
  const std::string database = read_database(root, "/etc/group");
  std::optional<gid_t> gid;
  any_line(database, [&](const Fields& fields) {
    if (fields[0] == wanted) gid = parse_id(fields[2]);
    return gid.has_value();
  });
  if (!gid) gid = parse_id(wanted);
  if (gid) return *gid;
  return fail("group \"" + std::string(wanted) + "\": not in the image's /etc/group", ENOENT);
}

bool lists_member(std::string_view members, std::string_view name) {
  while (!members.empty()) {
    if (take_until(members, ',') == name) return true;
  }
  return false;
}

void add_supplementary_groups(int root, std::string_view name, User& user) {
  const std::string database = read_database(root, "/etc/group");
  any_line(database, [&](const Fields& fields) {
    const auto gid = parse_id(fields[2]);
    if (gid && lists_member(fields[3], name)) user.groups.push_back(*gid);
    return user.groups.size() == kMaxGroups;
  });
}

}  // namespace

Outcome<User> find_user(int root, std::string_view text) {
  const bool names_group = text.find(':') != std::string_view::npos;
  std::string_view group = text;
  std::string_view wanted = take_until(group, ':');
  if (wanted.empty()) wanted = "0";
  User user;
  auto name = find_in_passwd(root, wanted, user);
  if (!name) return fail(name.error());
  if (!names_group) {
    if (!name->empty()) add_supplementary_groups(root, *name, user);
    return user;
  }
  const auto gid = find_group(root, group);
  if (!gid) return fail(gid.error());
  user.gid = *gid;
  return user;
}

}  // namespace microvm::agent
