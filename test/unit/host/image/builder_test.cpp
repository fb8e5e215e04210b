#include "host/image/builder.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "host/store_entries.hpp"
#include "host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;

namespace {

// What the guests of a build do, and what was asked of them, in words.
struct Script {
  std::optional<StepOutcome> command_end;  // empty: it runs
  std::optional<StepOutcome> later_end;    // then no snapshot can be made
  Result<void> port = {};
  Result<void> programs_end = {};
  std::string log;
  std::vector<std::string> asked;
  std::vector<std::vector<std::string>> environments;  // of what was run
};

class ScriptedGuest final : public BuildGuest {
 public:
  explicit ScriptedGuest(Script& script) : script_(script) {}
  [[nodiscard]] uint64_t boot_ms() const override { return 1; }
  [[nodiscard]] std::string kernel_cmdline() const override { return "quiet"; }
  Result<void> put_files(const std::vector<FileToPut>&, const CallLimits&) override {
    return ask("put");
  }
  Result<StepOutcome> run(const StepCommand& command, const OutputSink&,
                          const CallLimits&) override {
    script_.asked.push_back("run " + command.argv.back());
    script_.environments.push_back(command.env);
    return StepOutcome{};
  }
  Result<void> end_programs(const CallLimits&) override {
    script_.asked.emplace_back("end programs");
    return script_.programs_end;
  }
  Result<void> start(const StepCommand& command, const CallLimits&) override {
    return ask("start " + command.argv.front());
  }
  Result<std::optional<StepOutcome>> settle(const CallLimits&) override {
    script_.asked.emplace_back("settle");
    return script_.command_end;
  }
  std::optional<StepOutcome> command_end() override { return script_.later_end; }
  Result<void> wait_port(uint16_t port, std::chrono::milliseconds, const CallLimits&) override {
    script_.asked.push_back("port " + std::to_string(port));
    return script_.port;
  }
  Result<void> call_hook(const Hooks&, const HookKind& kind, const CallLimits&) override {
    return ask("hook " + std::string(kind.name));
  }
  std::string app_log() override { return script_.log; }
  Result<void> drop_caches(const CallLimits&) override { return {}; }
  Result<SnapshotSizes> snapshot(int memory_fd, int state_fd, const CallLimits&) override {
    if (script_.later_end) return base::fail(ErrorCode::guest_failed, "the guest is gone");
    REQUIRE(::pwrite(memory_fd, "memory", 6, 0) == 6);
    REQUIRE(::pwrite(state_fd, "state", 5, 0) == 5);
    script_.asked.emplace_back("snapshot");
    return SnapshotSizes{6, 6};
  }
  Result<void> record_working_set(int, const CallLimits&) override {
    return base::fail(ErrorCode::unsupported, "not here");
  }
  Result<void> power_off(const CallLimits&) override { return ask("power off"); }

 private:
  Result<void> ask(std::string what) {
    script_.asked.push_back(std::move(what));
    return {};
  }
  Script& script_;
};

class ScriptedRunner final : public StepRunner {
 public:
  explicit ScriptedRunner(Script& script) : script_(script) {}
  Result<std::unique_ptr<BuildGuest>> boot(const BuildMachine& machine,
                                           const CallLimits&) override {
    // A guest whose layer another one has written to would be another guest.
    CHECK(std::filesystem::file_size(machine.writable_layer) == 0);
    std::ofstream(machine.writable_layer) << "written";
    script_.asked.push_back("boot " + machine.writable_layer.filename().string());
    return std::make_unique<ScriptedGuest>(script_);
  }
  Result<std::unique_ptr<BuildGuest>> restore(const BuildMachine&, const SnapshotFiles&,
                                              const CallLimits&) override {
    script_.asked.emplace_back("restore");
    return std::make_unique<ScriptedGuest>(script_);
  }

 private:
  Script& script_;
};

class BuildFixture {
 public:
  BuildFixture() {
    add_kernel(store_, "kernel");
    auto entry = store_.new_entry();
    REQUIRE(entry);
    REQUIRE(entry->write_file("disk.ext4", "disk"));
    const auto digest = digest_of("disk");
    REQUIRE(store_.commit_base(std::move(*entry),
                               {{"debian", digest, 4}, 1, {"disk.ext4", 4, 4, digest}}));
    std::filesystem::create_directory(dir_ / "context");
    options_.context = dir_ / "context";
    options_.tag = "app";
    options_.progress = [this](const Progress& progress) { steps_.push_back(progress.step); };
  }

  Result<ImageInfo> build(const std::string& dockerfile) {
    std::ofstream(dir_ / "context" / "Dockerfile") << dockerfile;
    script_.asked.clear();
    steps_.clear();
    ScriptedRunner runner(script_);
    return build_image(store_, runner, options_);
  }
  ImageInfo built(const std::string& dockerfile) {
    auto image = build(dockerfile);
    REQUIRE_MESSAGE(image, (image ? "" : image.error().message));
    const auto stored = store_.open_image(image->name + ":" + image->version);
    REQUIRE(stored);
    CHECK(stored->manifest.info.has_app == image->has_app);
    return *image;
  }
  std::string failed(const std::string& dockerfile, ErrorCode code = ErrorCode::build_failed) {
    const auto image = build(dockerfile);
    REQUIRE_FALSE(image);
    CHECK(image.error().code == code);
    return image.error().message;
  }
  [[nodiscard]] bool noticed() const {
    return std::ranges::any_of(steps_, [](const auto& step) { return step.starts_with("notice"); });
  }

  Script script_;
  BuildOptions options_;

 private:
  TempDir dir_;
  Store store_ = *Store::open(dir_ / "data");
  std::vector<std::string> steps_;
};

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("builder: what a RUN has left running ends with it, before anything else runs") {
  BuildFixture fixture;
  fixture.built("FROM debian\nRUN [\"a\"]\nRUN [\"b\"]\nCOPY Dockerfile /x/\nCMD [\"app\"]\n");
  const Words steps(fixture.script_.asked.begin(), fixture.script_.asked.begin() + 7);
  CHECK(steps == Words{"boot steps.layer", "run a", "end programs", "run b", "end programs", "put",
                       "power off"});
  fixture.script_.programs_end = base::fail(ErrorCode::deadline_exceeded, "do not end");
  CHECK(fixture.failed("FROM debian\nRUN [\"a\"]\nRUN [\"b\"]\n", ErrorCode::deadline_exceeded)
            .ends_with("Dockerfile:2: RUN [\"a\"]: do not end"));
}

TEST_CASE("builder: the proxy of this process is for RUN, and only when asked for") {
  BuildFixture fixture;
  const auto sees = [&](const std::string& variable) {
    const auto& env = fixture.script_.environments.front();
    return std::ranges::find(env, variable) != env.end();
  };
  REQUIRE(::setenv("https_proxy", "http://p.example:3128", 1) == 0);
  fixture.built("FROM debian\nRUN [\"a\"]\n");
  CHECK_FALSE(sees("https_proxy=http://p.example:3128"));
  fixture.options_.host_proxy = true;
  fixture.script_.environments.clear();
  fixture.built("FROM debian\nRUN [\"a\"]\n");
  CHECK(sees("https_proxy=http://p.example:3128"));
  fixture.options_.build_args["https_proxy"] = "http://other.example";
  fixture.script_.environments.clear();
  fixture.built("FROM debian\nRUN [\"a\"]\n");
  CHECK(sees("https_proxy=http://other.example"));
  ::unsetenv("https_proxy");
}

TEST_CASE("builder: a network that a build cannot have is refused before anything is booted") {
  BuildFixture fixture;
  fixture.options_.network.mode = NetworkMode::tap;
  CHECK(fixture.failed("FROM debian\n", ErrorCode::invalid_argument) ==
        "a build has no tap: its network is user or none");
  fixture.options_.network.mode = NetworkMode::user;
  CHECK(fixture.failed("FROM debian\n", ErrorCode::unsupported)
            .starts_with("kernel kernel was imported without its driver for networks"));
  CHECK(fixture.script_.asked.empty());
  for (const auto mode : {NetworkMode::none, NetworkMode::automatic}) {
    fixture.options_.network.mode = mode;
    fixture.built("FROM debian\n");
  }
}

TEST_CASE("builder: a command that runs is the app") {
  BuildFixture fixture;
  CHECK(fixture.built("FROM debian\nCMD [\"app\"]\n").has_app);
  CHECK(fixture.script_.asked == Words{"boot app.layer", "start app", "settle", "run true",
                                       "snapshot", "restore", "run true"});
  CHECK_FALSE(fixture.noticed());
  CHECK(fixture.built("FROM debian\nEXPOSE 80\nCMD [\"app\"]\n").has_app);
  CHECK(fixture.script_.asked[2] == "port 80");
  CHECK(fixture.script_.asked[3] == "run true");
}

TEST_CASE("builder: without a command there is an image without an app, and nothing to notice") {
  BuildFixture fixture;
  for (const char* dockerfile :
       {"FROM debian\n", "FROM debian\nEXPOSE 80\n", "FROM debian\nCMD [\"a\"]\nCMD []\n"}) {
    CAPTURE(dockerfile);
    const ImageInfo image = fixture.built(dockerfile);
    CHECK_FALSE(image.has_app);
    CHECK(fixture.script_.asked ==
          Words{"boot app.layer", "run true", "snapshot", "restore", "run true"});
    CHECK_FALSE(fixture.noticed());
  }
}

TEST_CASE("builder: a command that ends with success leaves nothing but a notice") {
  BuildFixture fixture;
  fixture.script_.command_end = StepOutcome{};
  const ImageInfo image = fixture.built("FROM debian\nCMD [\"bash\"]\n");
  CHECK_FALSE(image.has_app);
  CHECK(image.config.cmd == Words{"bash"});
  CHECK(fixture.script_.asked == Words{"boot app.layer", "start bash", "settle", "boot app.layer",
                                       "run true", "snapshot", "restore", "run true"});
  CHECK(fixture.noticed());
}

TEST_CASE("builder: a command that fails fails the build, with its code and last output") {
  BuildFixture fixture;
  fixture.script_.log = "no such table";
  fixture.script_.command_end = StepOutcome{3, 0, {}};
  CHECK(fixture.failed("FROM debian\nCMD [\"app\"]\n") ==
        "the command \"app\": exit code 3, and a microVM ends with its app; its last output:\n"
        "no such table");
  fixture.script_.command_end = StepOutcome{0, 11, {}};
  CHECK(fixture.failed("FROM debian\nCMD [\"app\"]\n")
            .starts_with("the command \"app\": killed by signal 11"));
}

TEST_CASE("builder: a command that ends a little later fails the build, too") {
  BuildFixture fixture;
  fixture.script_.later_end = StepOutcome{};
  CHECK(fixture.failed("FROM debian\nCMD [\"sleep\", \"1\"]\n") ==
        "the command \"sleep\": exit code 0, and a microVM ends with its app");
}

TEST_CASE("builder: who asks for an app gets one or an error") {
  BuildFixture fixture;
  fixture.script_.command_end = StepOutcome{};
  fixture.options_.hooks.port = 80;
  fixture.options_.hooks.suspend = std::chrono::seconds(1);
  CHECK(fixture.failed("FROM debian\nCMD [\"app\"]\n")
            .starts_with("the command \"app\": exit code 0"));
  const std::string nobody =
      "no CMD or ENTRYPOINT: nothing would listen on the ready port or answer hooks";
  CHECK(fixture.failed("FROM debian\n", ErrorCode::invalid_argument) == nobody);
  fixture.options_.hooks = {};
  fixture.options_.ready_port = 80;
  CHECK(fixture.failed("FROM debian\n", ErrorCode::invalid_argument) == nobody);
  CHECK(fixture.script_.asked.empty());
  fixture.script_.port = base::fail(ErrorCode::io, "the command exited with code 0");
  CHECK(fixture.failed("FROM debian\nCMD [\"app\"]\n") ==
        "the app did not become ready: the command exited with code 0");
}
