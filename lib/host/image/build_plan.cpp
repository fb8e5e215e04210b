#include "host/image/build_plan.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "host/image/expand.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxEnvironmentBytes = 128 * 1024;

// Sets NAME=value in a list of such.
void set_variable(std::vector<std::string>& env, const std::string& name,
                  const std::string& value) {
  const std::string prefix = name + "=";
  const auto old =
      std::ranges::find_if(env, [&](const auto& item) { return item.starts_with(prefix); });
  if (old != env.end()) {
    *old = prefix + value;
  } else {
    env.push_back(prefix + value);
  }
}

std::optional<std::string> find_variable(const std::vector<std::string>& env,
                                         const std::string& name) {
  const std::string prefix = name + "=";
  for (const std::string& item : env) {
    if (item.starts_with(prefix)) return item.substr(prefix.size());
  }
  return std::nullopt;
}

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

// Walks the instructions once; every member function handles one of them.
class Planner {
 public:
  Planner(const Dockerfile& file, const BuildContext& context,
          const std::map<std::string, std::string>& build_args)
      : file_(file), context_(context), build_args_(build_args) {}

  Result<BuildPlan> plan() {
    for (const Instruction& instruction : file_.instructions) {
      at_ = &instruction;
      if (auto done = apply(); !done) return located(done.error());
    }
    if (plan_.base.empty()) return file_.error_at(1, "no FROM instruction");
    return std::move(plan_);
  }

 private:
  [[nodiscard]] base::Failure fail(const std::string& message) const {
    return file_.error_at(at_->line, message);
  }

  // Puts file:line before a message that does not have it yet, keeping its code.
  [[nodiscard]] base::Failure located(const Error& error) const {
    const std::string place = file_.name + ":" + std::to_string(at_->line) + ": ";
    if (error.message.starts_with(file_.name + ":")) return base::fail(error);
    return base::fail(error.code, place + error.message);
  }

  Result<void> apply() {
    if (plan_.base.empty() && at_->kind != InstructionKind::from &&
        at_->kind != InstructionKind::arg) {
      return fail("the first instruction must be FROM (only ARG may stand before it)");
    }
    switch (at_->kind) {
      case InstructionKind::from:
        return from();
      case InstructionKind::arg:
        return arg();
      case InstructionKind::env:
        return env();
      case InstructionKind::label:
        return label();
      case InstructionKind::workdir:
        return workdir();
      case InstructionKind::copy:
      case InstructionKind::add:
        return copy();
      case InstructionKind::run:
        return run();
      case InstructionKind::expose:
        return expose();
      case InstructionKind::user:
        return user();
      case InstructionKind::stopsignal:
        return stop_signal();
      case InstructionKind::shell:
        return shell();
      case InstructionKind::cmd:
        return command(plan_.config.cmd);
      case InstructionKind::entrypoint:
        return entrypoint();
      case InstructionKind::healthcheck:
      case InstructionKind::maintainer:
      case InstructionKind::volume:
        return {};  // say nothing that a microVM needs
      case InstructionKind::onbuild:
        return fail("ONBUILD is not supported");
    }
    return {};
  }

  // The arguments as words, expanded. Exec form is a JSON array, expanded item by item.
  Result<std::vector<std::string>> words() const {
    if (at_->exec_form) return expanded(at_->args);
    const auto split = split_words(at_->args.front(), file_.escape);
    if (!split) return base::fail(split.error());
    return expanded(*split);
  }

  Result<std::vector<std::string>> expanded(const std::vector<std::string>& raw) const {
    std::vector<std::string> out;
    for (const std::string& word : raw) {
      auto value = expanded(word);
      if (!value) return base::fail(value.error());
      out.push_back(std::move(*value));
    }
    return out;
  }

  Result<std::string> expanded(const std::string& word) const {
    return expand_word(word, file_.escape,
                       [&](const std::string& name) -> std::optional<std::string> {
                         if (auto value = find_variable(plan_.config.env, name)) return value;
                         return find_variable(args_, name);
                       });
  }

  Result<std::string> one_word(const char* name) const {
    auto list = words();
    if (!list) return base::fail(list.error());
    if (list->size() != 1 || list->front().empty())
      return fail(std::string(name) + " takes one argument");
    return std::move(list->front());
  }

  Result<void> from() {
    if (!plan_.base.empty()) {
      return fail("a second FROM: multi-stage builds are not supported, use one stage");
    }
    if (!at_->flags.empty() && at_->flags.front().name != "platform") {
      return fail("unknown flag --" + at_->flags.front().name);
    }
    const auto list = words();
    if (!list) return base::fail(list.error());
    const bool named = list->size() == 3 && (list->at(1) == "AS" || list->at(1) == "as");
    if ((list->size() != 1 && !named) || list->front().empty()) return fail("FROM takes one image");
    plan_.base = list->front();
    global_args_ = std::exchange(args_, {});  // an ARG before FROM is for FROM only
    set_variable(plan_.config.env, "PATH", std::string(kDefaultPath).substr(5));
    return {};
  }

  Result<void> arg() {
    const auto list = words();
    if (!list) return base::fail(list.error());
    for (const std::string& item : *list) {
      const size_t equals = std::min(item.find('='), item.size());
      const std::string name = item.substr(0, equals);
      if (name.empty()) return fail("ARG needs a name");
      if (const auto given = build_args_.find(name); given != build_args_.end()) {
        set_variable(args_, name, given->second);
      } else if (equals < item.size()) {
        set_variable(args_, name, item.substr(equals + 1));
      } else if (const auto global = find_variable(global_args_, name)) {
        set_variable(args_, name, *global);  // named again: now it is for this stage too
      }
    }
    return {};
  }

  // NAME=value …, or the old form: NAME value with spaces.
  Result<std::vector<std::pair<std::string, std::string>>> pairs(const char* what) const {
    const auto raw = split_words(at_->args.front(), file_.escape);
    if (!raw) return base::fail(raw.error());
    std::vector<std::pair<std::string, std::string>> out;
    if (raw->front().find('=') == std::string::npos) {
      if (raw->size() < 2) return fail(std::string(what) + " must be NAME=value");
      const std::string& text = at_->args.front();
      auto value = expanded(text.substr(text.find_first_not_of(" \t", raw->front().size())));
      if (!value) return base::fail(value.error());
      out.emplace_back(raw->front(), std::move(*value));
      return out;
    }
    for (const std::string& item : *raw) {
      const size_t equals = item.find('=');
      if (equals == std::string::npos || equals == 0) {
        return fail(std::string(what) + " must be NAME=value, not " + item);
      }
      auto name = expanded(item.substr(0, equals));
      auto value = expanded(item.substr(equals + 1));
      if (!name || !value) return base::fail(!name ? name.error() : value.error());
      out.emplace_back(std::move(*name), std::move(*value));
    }
    return out;
  }

  Result<void> env() {
    const auto list = pairs("ENV");
    if (!list) return base::fail(list.error());
    for (const auto& [name, value] : *list) set_variable(plan_.config.env, name, value);
    size_t bytes = 0;
    for (const std::string& item : plan_.config.env) bytes += item.size() + 1;
    if (bytes > kMaxEnvironmentBytes) return fail("the environment is larger than 128 KiB");
    return {};
  }

  Result<void> label() {
    const auto list = pairs("LABEL");
    if (!list) return base::fail(list.error());
    for (const auto& [name, value] : *list) plan_.config.labels[name] = value;
    return {};
  }

  [[nodiscard]] std::string absolute(const std::string& path) const {
    std::string out = (fs::path(plan_.config.workdir) / path).lexically_normal().string();
    while (out.size() > 1 && out.ends_with('/')) out.pop_back();
    return out;
  }

  Result<void> workdir() {
    const auto path = expanded(at_->args.front());
    if (!path) return base::fail(path.error());
    plan_.config.workdir = absolute(*path);
    add(MakeDirectoryStep{plan_.config.workdir});
    return {};
  }

  Result<void> copy() {
    CopyStep step;
    for (const Flag& flag : at_->flags) {
      if (auto taken = copy_flag(flag, step); !taken) return taken;
    }
    auto list = words();
    if (!list) return base::fail(list.error());
    if (list->size() < 2) return fail("COPY and ADD need a source and a destination");
    set_target(list->back(), list->size() > 2, step);
    list->pop_back();
    size_t heredoc = 0;
    for (const std::string& source : *list) {
      if (auto added = copy_source(source, heredoc, step); !added) return added;
    }
    add(std::move(step));
    return {};
  }

  Result<void> copy_flag(const Flag& flag, CopyStep& step) const {
    const auto value = expanded(flag.value);
    if (!value) return base::fail(value.error());
    if (flag.name == "chown") {
      step.owner = *value;
    } else if (flag.name == "chmod") {
      const bool octal = !value->empty() && value->size() <= 4 &&
                         value->find_first_not_of("01234567") == std::string::npos;
      if (!octal) return fail("--chmod takes an octal mode such as 755");
      step.mode = *value;
    } else if (flag.name != "link") {  // how layers are stored is ours to choose
      return fail("unsupported flag --" + flag.name);
    }
    return {};
  }

  void set_target(const std::string& written, bool many, CopyStep& step) const {
    const std::string name = fs::path(written).filename().string();
    step.target = absolute(written);
    step.target_is_directory = many || name.empty() || name == "." || name == "..";
  }

  Result<void> copy_source(const std::string& source, size_t& heredoc, CopyStep& step) const {
    if (source.starts_with("<<") && heredoc < at_->heredocs.size()) {
      const Heredoc& body = at_->heredocs[heredoc++];
      FileToPut file;
      file.path = body.name;
      auto content =
          body.expand ? expanded_heredoc(body.content) : Result<std::string>(body.content);
      if (!content) return base::fail(content.error());
      file.inline_content = std::move(*content);
      step.inline_files.push_back(std::move(file));
      return {};
    }
    if (at_->kind == InstructionKind::add) {
      if (auto local = refuse_remote(source); !local) return local;
    }
    auto found = context_.resolve(source);
    if (!found) return located(found.error());
    step.sources.insert(step.sources.end(), found->begin(), found->end());
    if (found->size() > 1) step.target_is_directory = true;
    return {};
  }

  // Quotes are plain characters in a heredoc, only variables count.
  Result<std::string> expanded_heredoc(const std::string& content) const {
    std::string escaped;
    for (const char c : content) {
      if (c == '"' || c == '\'') escaped += file_.escape;
      escaped += c;
    }
    return expanded(escaped);
  }

  Result<void> refuse_remote(const std::string& source) const {
    if (source.find("://") != std::string::npos || source.starts_with("git@")) {
      return fail("ADD of a URL is not supported: download it in a RUN step");
    }
    for (const char* ending : {".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst"}) {
      if (source.ends_with(ending)) {
        return fail("ADD does not unpack archives here: COPY it and unpack it in a RUN step");
      }
    }
    return {};
  }

  Result<void> run() {
    StepCommand step;
    for (const Flag& flag : at_->flags) {
      if (auto taken = run_flag(flag, step); !taken) return taken;
    }
    step.env = plan_.config.env;
    // Build arguments are visible to RUN, but the image's ENV wins and they are not kept.
    for (const std::string& item : args_) {
      const std::string name = item.substr(0, item.find('='));
      if (!find_variable(step.env, name)) step.env.push_back(item);
    }
    add_proxy(step.env);
    step.cwd = plan_.config.workdir;
    step.user = plan_.config.user;
    const auto script = run_script();
    if (!script) return base::fail(script.error());
    step.argv = at_->exec_form ? at_->args : in_shell(*script);
    add(std::move(step));
    return {};
  }

  // As docker has it: these build arguments need no ARG.
  void add_proxy(std::vector<std::string>& env) const {
    for (const std::string_view name : kProxyVariables) {
      const auto given = build_args_.find(std::string(name));
      if (given != build_args_.end() && !find_variable(env, given->first))
        env.push_back(given->first + "=" + given->second);
    }
  }

  Result<void> run_flag(const Flag& flag, StepCommand& step) const {
    if (flag.name != "network") return fail("unsupported flag --" + flag.name);
    const auto value = expanded(flag.value);
    if (!value) return base::fail(value.error());
    if (*value != "none" && *value != "default") {
      return fail("RUN --network is none or default, not \"" + *value +
                  "\": a build has no other network");
    }
    step.no_network = *value == "none";
    return {};
  }

  // The text for the shell; a RUN that is nothing but heredocs runs their content.
  [[nodiscard]] Result<std::string> run_script() const {
    std::string script = at_->args.front();
    if (at_->heredocs.empty()) return script;
    if (at_->heredocs.size() == 1 && script.starts_with("<<") &&
        script.find_first_of(" \t") == std::string::npos) {
      if (at_->heredocs.front().content.starts_with("#!")) {
        return fail("a RUN heredoc with a #! line is not supported: COPY the script and run it");
      }
      return at_->heredocs.front().content;
    }
    for (const Heredoc& body : at_->heredocs) script += "\n" + body.content + body.name;
    return script + "\n";
  }

  [[nodiscard]] std::vector<std::string> in_shell(const std::string& text) const {
    std::vector<std::string> argv = shell_;
    argv.push_back(text);
    return argv;
  }

  Result<void> expose() {
    const auto list = words();
    if (!list) return base::fail(list.error());
    for (const std::string& item : *list) {
      const size_t slash = std::min(item.find('/'), item.size());
      const std::string protocol = item.substr(slash);
      const auto port = parse_port(std::string_view(item).substr(0, slash));
      if (!port || (!protocol.empty() && protocol != "/tcp" && protocol != "/udp")) {
        return fail("EXPOSE takes ports such as 8080 or 8080/tcp, not " + item);
      }
      if (protocol == "/udp") continue;
      auto& ports = plan_.config.exposed_ports;
      if (std::ranges::find(ports, *port) == ports.end()) ports.push_back(*port);
    }
    return {};
  }

  Result<void> user() {
    auto name = one_word("USER");
    if (!name) return base::fail(name.error());
    plan_.config.user = std::move(*name);
    return {};
  }

  Result<void> stop_signal() {
    auto name = one_word("STOPSIGNAL");
    if (!name) return base::fail(name.error());
    plan_.config.stop_signal = std::move(*name);
    return {};
  }

  Result<void> shell() {
    if (!at_->exec_form) return fail("SHELL takes a JSON array such as [\"/bin/bash\", \"-c\"]");
    shell_ = at_->args;
    return {};
  }

  Result<void> command(std::vector<std::string>& into) {
    into = at_->exec_form ? at_->args : in_shell(at_->args.front());
    return {};
  }

  // As docker has it: a new ENTRYPOINT forgets a CMD that was set before it only in a base image;
  // within one file both stand.
  Result<void> entrypoint() { return command(plan_.config.entrypoint); }

  void add(std::variant<StepCommand, CopyStep, MakeDirectoryStep> action) {
    plan_.steps.push_back({at_->line, at_->source, std::move(action)});
  }

  const Dockerfile& file_;
  const BuildContext& context_;
  const std::map<std::string, std::string>& build_args_;
  const Instruction* at_ = nullptr;
  BuildPlan plan_;
  std::vector<std::string> args_;
  std::vector<std::string> global_args_;
  std::vector<std::string> shell_{"/bin/sh", "-c"};
};

}  // namespace

Result<BuildPlan> plan_build(const Dockerfile& file, const BuildContext& context,
                             const std::map<std::string, std::string>& build_args) {
  return Planner(file, context, build_args).plan();
}

std::vector<std::string> image_command(const ImageConfig& config) {
  std::vector<std::string> out = config.entrypoint;
  out.insert(out.end(), config.cmd.begin(), config.cmd.end());
  return out;
}

}  // namespace microvm::host
