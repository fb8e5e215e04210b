#include "agent/program/program.hpp"

#include <algorithm>

namespace microvm::agent {
namespace {

// What docker gives a container whose image says nothing.
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// "one\0two\0"; the size is bounded by the frame's.
Outcome<std::vector<std::string>> split_strings(std::span<const std::byte> body, const char* what) {
  std::vector<std::string> strings;
  std::string_view rest(reinterpret_cast<const char*>(body.data()), body.size());
  if (!rest.empty() && rest.back() != '\0')
    return fail(std::string(what) + ": the last string has no end", EPROTO);
  while (!rest.empty()) {
    const size_t end = rest.find('\0');
    strings.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return strings;
}

Outcome<std::vector<std::string>> read_strings(Channel& channel, FrameType type, uint32_t frames,
                                               const char* what) {
  if (frames > kMaxListFrames)
    return fail(std::string(what) + " in " + std::to_string(frames) + " frames", EMSGSIZE);
  std::vector<std::byte> all;
  for (uint32_t i = 0; i < frames; i++) {
    const auto body = channel.read_frame(type);
    if (!body) return fail(body.error());
    all.insert(all.end(), body->begin(), body->end());
  }
  return split_strings(all, what);
}

Outcome<ListFrames> read_exec_request(Channel& channel, const FrameHeader& header,
                                      Program& program) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_ExecRequest request = microvm_agent_ExecRequest_init_zero;
  if (!decode_message(*body, microvm_agent_ExecRequest_fields, &request))
    return fail("the exec request is not readable", EPROTO);
  program.cwd = request.cwd;
  program.user = request.user;
  program.timeout_ms = request.timeout_ms;
  program.stdin_open = request.stdin_open;
  program.no_network = request.no_network;
  program.session = {.id = request.id,
                     .keep = request.keep,
                     .detached = request.detached,
                     .attempt = request.attempt};
  return ListFrames{.arguments = std::max(request.argument_frames, 1u),
                    .environment = std::max(request.environment_frames, 1u)};
}

}  // namespace

Outcome<void> read_program_lists(Channel& channel, Program& program, ListFrames frames) {
  auto arguments = read_strings(channel, FrameType::arguments, frames.arguments, "arguments");
  if (!arguments) return fail(arguments.error());
  auto environment =
      read_strings(channel, FrameType::environment, frames.environment, "environment");
  if (!environment) return fail(environment.error());
  program.arguments = std::move(*arguments);
  program.environment = std::move(*environment);
  return {};
}

Outcome<Program> read_program(Channel& channel, const FrameHeader& request) {
  Program program;
  const auto frames = read_exec_request(channel, request, program);
  if (!frames) return fail(frames.error());
  if (auto read = read_program_lists(channel, program, *frames); !read) return fail(read.error());
  if (program.arguments.empty() || program.arguments.front().empty())
    return fail("exec: no program given", EINVAL);
  return program;
}

const char* find_variable(const std::vector<std::string>& environment, std::string_view name) {
  for (const auto& variable : environment) {
    if (variable.size() > name.size() && variable[name.size()] == '=' &&
        variable.compare(0, name.size(), name) == 0)
      return variable.c_str() + name.size() + 1;
  }
  return nullptr;
}

std::vector<std::string> candidate_files(const Program& program) {
  const std::string& name = program.arguments.front();
  if (name.find('/') != std::string::npos) return {name};
  const char* path = find_variable(program.environment, "PATH");
  std::string_view rest = path != nullptr ? path : kDefaultPath;
  std::vector<std::string> files;
  for (;;) {
    const size_t end = rest.find(':');
    const std::string_view directory = rest.substr(0, end);
    // An empty entry is the working directory (POSIX).
    files.push_back(directory.empty() ? name : std::string(directory) + "/" + name);
    if (end == std::string_view::npos) return files;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace microvm::agent
