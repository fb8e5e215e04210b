#include "host/image/builder_steps.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTailBytes = 2000;  // of a failing step's output, for the error

// The last part of what a program printed, whole lines.
class Tail {
 public:
  void add(std::string_view text) {
    text_ += text;
    if (text_.size() > 2 * kTailBytes) text_.erase(0, text_.size() - kTailBytes);
  }
  [[nodiscard]] std::string text() const {
    std::string out = text_.size() > kTailBytes ? text_.substr(text_.size() - kTailBytes) : text_;
    if (out.size() < text_.size()) out.erase(0, std::min(out.find('\n'), out.size() - 1) + 1);
    while (out.ends_with('\n')) out.pop_back();
    return out;
  }

 private:
  std::string text_;
};

class StepRun {
 public:
  StepRun(const StepContext& with, const PlannedStep& step, Progress progress)
      : with_(with), step_(step), progress_(std::move(progress)) {}

  Result<void> operator()(const StepCommand& command) {
    Tail tail;
    const auto outcome = with_.guest.run(
        command,
        [&](std::string_view text) {
          tail.add(text);
          report(text);
        },
        with_.may_go_on.rest());
    if (!outcome) return located(with_output(outcome.error(), tail));
    if (!is_success(*outcome))
      return located(with_output({ErrorCode::build_failed, how_it_ended(*outcome)}, tail));
    return end_programs();
  }

  Result<void> operator()(const MakeDirectoryStep& directory) {
    FileToPut entry;
    entry.type = FileToPut::Type::directory;
    entry.path = directory.path;
    entry.mode = 0755;
    return put({std::move(entry)});
  }

  Result<void> operator()(const CopyStep& copy) {
    const auto directory = target_is_directory(copy);
    if (!directory) return base::fail(directory.error());
    std::vector<FileToPut> files;
    for (const BuildContext::Source& source : copy.sources) {
      const auto target = target_of(copy, fs::path(source.path).filename().string(),
                                    *directory && !source.directory);
      auto added = with_.context.collect(source, target, files);
      if (!added) return located(added.error());
    }
    for (FileToPut file : copy.inline_files) {
      file.path = target_of(copy, file.path, *directory);
      files.push_back(std::move(file));
    }
    if (auto owned = set_owner_and_mode(copy, files); !owned) return owned;
    return put(std::move(files));
  }

 private:
  // A server that a RUN has left in the background would be there for the next one.
  Result<void> end_programs() {
    if (auto ended = with_.guest.end_programs(with_.may_go_on.rest()); !ended)
      return located({ended.error().code, step_.title + ": " + ended.error().message});
    return {};
  }

  static std::string target_of(const CopyStep& copy, const std::string& name, bool below) {
    return below ? (fs::path(copy.target) / name).string() : copy.target;
  }

  // Asks the guest only in the one case that the Dockerfile leaves open.
  Result<bool> target_is_directory(const CopyStep& copy) {
    const bool only_directory = copy.sources.size() == 1 && copy.sources.front().directory;
    if (copy.target_is_directory || only_directory) return copy.target_is_directory;
    const auto outcome = quiet({"/bin/sh", "-c", "test -d \"$0\"", copy.target}, nullptr);
    if (!outcome) return base::fail(outcome.error());
    return outcome->exit_code == 0 && outcome->message.empty();
  }

  Result<StepOutcome> quiet(std::vector<std::string> argv, std::string* output) {
    StepCommand command;
    command.argv = std::move(argv);
    command.env = {kDefaultPath};
    auto outcome = with_.guest.run(
        command,
        [&](std::string_view text) {
          if (output != nullptr && output->size() < kTailBytes) *output += text;
        },
        with_.may_go_on.rest());
    if (!outcome) return located(outcome.error());
    return outcome;
  }

  Result<void> set_owner_and_mode(const CopyStep& copy, std::vector<FileToPut>& files) {
    uint32_t uid = 0;
    uint32_t gid = 0;
    if (!copy.owner.empty()) {
      const size_t colon = std::min(copy.owner.find(':'), copy.owner.size());
      const auto user = look_up_id(copy.owner.substr(0, colon), "-u");
      const auto group = colon < copy.owner.size() ? look_up_group(copy.owner.substr(colon + 1))
                                                   : look_up_id(copy.owner.substr(0, colon), "-g");
      if (!user || !group) return base::fail(!user ? user.error() : group.error());
      uid = *user;
      gid = *group;
    }
    for (FileToPut& file : files) {
      file.uid = uid;
      file.gid = gid;
      if (copy.mode.empty() || file.type == FileToPut::Type::symlink) continue;
      file.mode =
          static_cast<uint32_t>(std::stoul(copy.mode, nullptr, 8));  // checked by the planner
    }
    return {};
  }

  static bool parse_id(std::string_view text, uint32_t& id) {
    while (text.ends_with('\n')) text.remove_suffix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    return error == std::errc() && end == text.data() + text.size();
  }

  // A name is what the guest's own files say it is.
  Result<uint32_t> look_up_id(const std::string& name, const char* option) {
    uint32_t id = 0;
    if (parse_id(name, id)) return id;
    return ask_for_id({"/bin/sh", "-c", "id \"$0\" -- \"$1\"", option, name}, "user " + name);
  }

  Result<uint32_t> look_up_group(const std::string& name) {
    uint32_t id = 0;
    if (parse_id(name, id)) return id;
    return ask_for_id(
        {"/bin/sh", "-c",
         "while IFS=: read -r name _ id _; do if [ \"$name\" = \"$0\" ]; then echo \"$id\"; "
         "exit 0; fi; done < /etc/group; exit 1",
         name},
        "group " + name);
  }

  Result<uint32_t> ask_for_id(std::vector<std::string> argv, const std::string& what) {
    std::string output;
    const auto outcome = quiet(std::move(argv), &output);
    if (!outcome) return base::fail(outcome.error());
    uint32_t id = 0;
    if (outcome->exit_code != 0 || !parse_id(output, id)) {
      return located({ErrorCode::build_failed, "--chown: the image has no " + what});
    }
    return id;
  }

  Result<void> put(std::vector<FileToPut> files) {
    if (auto done = with_.guest.put_files(files, with_.may_go_on.rest()); !done)
      return located(done.error());
    return {};
  }

  void report(std::string_view output) {
    if (!with_.progress) return;
    progress_.output = std::string(output);
    with_.progress(progress_);
  }

  [[nodiscard]] Error with_output(const Error& error, const Tail& tail) const {
    Error whole{error.code, step_.title + ": " + error.message};
    if (const std::string last = tail.text(); !last.empty())
      whole.message += "; last output:\n" + last;
    return whole;
  }

  [[nodiscard]] base::Failure located(const Error& error) const {
    return base::fail(error.code,
                      with_.file.name + ":" + std::to_string(step_.line) + ": " + error.message);
  }

  const StepContext& with_;
  const PlannedStep& step_;
  Progress progress_;
};

}  // namespace

bool is_success(const StepOutcome& outcome) {
  return outcome.exit_code == 0 && outcome.signal == 0 && outcome.message.empty();
}

std::string how_it_ended(const StepOutcome& outcome) {
  if (!outcome.message.empty()) return outcome.message;
  if (outcome.signal != 0) return "killed by signal " + std::to_string(outcome.signal);
  return "exit code " + std::to_string(outcome.exit_code);
}

Result<void> run_step(const StepContext& with, const PlannedStep& step, size_t number,
                      size_t count) {
  Progress progress;
  progress.step =
      "STEP " + std::to_string(number) + "/" + std::to_string(count) + ": " + step.title;
  progress.done = number;
  progress.total = count;
  if (with.progress) with.progress(progress);
  return std::visit(StepRun(with, step, progress), step.action);
}

}  // namespace microvm::host
