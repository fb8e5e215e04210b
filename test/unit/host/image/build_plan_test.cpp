#include "host/image/build_plan.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>

using namespace microvm;
using namespace microvm::host;

namespace fs = std::filesystem;

namespace {

// A context directory with a few files and a link that leads out of it.
class Context {
 public:
  Context() {
    char name[] = "/tmp/build-plan-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    dir_ = name;
    fs::create_directories(dir_ / "src/deep");
    for (const char* file : {"app.py", "src/a.txt", "src/deep/b.txt", "src/skip.log"}) {
      std::ofstream(dir_ / file) << file;
    }
    std::ofstream(dir_ / ".dockerignore") << "**/*.log\n";
    fs::create_symlink("/etc", dir_ / "out");
    fs::create_symlink("src", dir_ / "in");
  }
  ~Context() { fs::remove_all(dir_); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  void write_ignore_file(std::string_view text) const {
    std::ofstream(dir_ / ".dockerignore", std::ios::binary) << text;
  }
  [[nodiscard]] const fs::path& dir() const { return dir_; }

  [[nodiscard]] BuildContext open() const {
    auto context = BuildContext::open(dir_);
    REQUIRE(context);
    return std::move(*context);
  }

  Result<BuildPlan> plan(const std::string& text,
                         const std::map<std::string, std::string>& args = {}) const {
    const auto file = parse_dockerfile(text, "Dockerfile");
    REQUIRE(file);
    return plan_build(*file, open(), args);
  }

  [[nodiscard]] std::string error(const std::string& text) const {
    const auto out = plan(text);
    REQUIRE_FALSE(out);
    return out.error().message;
  }

 private:
  fs::path dir_;
};

template <class T>
const T& step(const BuildPlan& plan, size_t index) {
  REQUIRE(index < plan.steps.size());
  REQUIRE(std::holds_alternative<T>(plan.steps[index].action));
  return std::get<T>(plan.steps[index].action);
}

}  // namespace

TEST_CASE("plan: a whole Dockerfile becomes steps and a configuration") {
  const Context context;
  const auto plan = context.plan(
      "ARG TAG=bookworm\nFROM debian:$TAG\nENV A=1 B=\"two words\"\nWORKDIR /app\nCOPY app.py .\n"
      "RUN echo $A\nEXPOSE 8080/tcp 53/udp\nUSER nobody\nLABEL k=v\nSTOPSIGNAL SIGINT\n"
      "ENTRYPOINT [\"python3\"]\nCMD [\"app.py\"]\n");
  REQUIRE_MESSAGE(plan, (plan ? "" : plan.error().message));
  CHECK(plan->base == "debian:bookworm");
  CHECK(plan->config.env == std::vector<std::string>{kDefaultPath, "A=1", "B=two words"});
  CHECK(plan->config.workdir == "/app");
  CHECK(plan->config.exposed_ports == std::vector<uint16_t>{8080});
  CHECK(plan->config.user == "nobody");
  CHECK(plan->config.labels.at("k") == "v");
  CHECK(image_command(plan->config) == std::vector<std::string>{"python3", "app.py"});
  CHECK(step<MakeDirectoryStep>(*plan, 0).path == "/app");
  CHECK(step<CopyStep>(*plan, 1).target == "/app");
  CHECK(step<CopyStep>(*plan, 1).target_is_directory);
  const auto& run = step<StepCommand>(*plan, 2);
  CHECK(run.argv == std::vector<std::string>{"/bin/sh", "-c", "echo $A"});
  CHECK(run.cwd == "/app");
}

TEST_CASE("plan: build arguments reach RUN, are overridden by name, and ENV wins") {
  const Context context;
  const auto plan =
      context.plan("ARG V=1\nFROM x\nARG V\nARG W=2\nENV W=3\nRUN a\nCMD b\n", {{"V", "9"}});
  REQUIRE(plan);
  const auto& env = step<StepCommand>(*plan, 0).env;
  CHECK(std::ranges::find(env, "V=9") != env.end());
  CHECK(std::ranges::find(env, "W=3") != env.end());
  CHECK(std::ranges::find(env, "W=2") == env.end());
  CHECK(std::ranges::find(plan->config.env, "V=9") == plan->config.env.end());
}

TEST_CASE("plan: a proxy given as build argument reaches RUN, and is not kept") {
  const Context context;
  const auto plan = context.plan("FROM x\nENV no_proxy=mine\nRUN a\nCMD b\n",
                                 {{"http_proxy", "http://p:1"}, {"no_proxy", "x"}, {"other", "y"}});
  REQUIRE(plan);
  const auto& env = step<StepCommand>(*plan, 0).env;
  CHECK(std::ranges::find(env, "http_proxy=http://p:1") != env.end());
  CHECK(std::ranges::find(env, "no_proxy=mine") != env.end());
  CHECK(std::ranges::find(env, "no_proxy=x") == env.end());
  CHECK(std::ranges::find(env, "other=y") == env.end());
  const auto& kept = plan->config.env;
  CHECK(std::ranges::find(kept, "http_proxy=http://p:1") == kept.end());
}

TEST_CASE("plan: a RUN says whether it has a network") {
  const Context context;
  const auto plan = context.plan(
      "FROM x\nARG N=none\nRUN a\nRUN --network=none b\nRUN --network=$N c\n"
      "RUN --network=default d\n");
  REQUIRE(plan);
  CHECK_FALSE(step<StepCommand>(*plan, 0).no_network);
  CHECK(step<StepCommand>(*plan, 1).no_network);
  CHECK(step<StepCommand>(*plan, 1).argv.back() == "b");
  CHECK(step<StepCommand>(*plan, 2).no_network);
  CHECK_FALSE(step<StepCommand>(*plan, 3).no_network);
}

TEST_CASE("plan: heredocs become scripts and files") {
  const Context context;
  const auto plan = context.plan(
      "FROM x\nENV A=1\nRUN <<EOF\necho hi\nEOF\nCOPY <<F /etc/f\n$A \"q\"\nF\nCMD b\n");
  REQUIRE(plan);
  CHECK(step<StepCommand>(*plan, 0).argv.back() == "echo hi\n");
  const auto& copy = step<CopyStep>(*plan, 1);
  REQUIRE(copy.inline_files.size() == 1);
  CHECK(copy.inline_files[0].inline_content == "1 \"q\"\n");
  CHECK(copy.target == "/etc/f");
}

TEST_CASE("plan: mistakes are named with file and line before anything is booted") {
  const Context context;
  const std::pair<const char*, const char*> rows[] = {
      {"RUN a\n",
       "Dockerfile:1: the first instruction must be FROM (only ARG may stand before it)"},
      {"FROM x\nCOPY ../up /d\nCMD a\n",
       "Dockerfile:2: source ../up is outside the build context: move it into the context"},
      {"FROM x\nCOPY out/passwd /d\nCMD a\n",
       "Dockerfile:2: source out/passwd is outside the build context: move it into the context"},
      {"FROM x\nCOPY none /d\nCMD a\n",
       "Dockerfile:2: source none is not in the build context (or .dockerignore hides it)"},
      {"FROM x\nCOPY src/skip.log /d\nCMD a\n",
       "Dockerfile:2: source src/skip.log is not in the build context (or .dockerignore hides it)"},
      {"FROM x\nCOPY --bad=1 app.py /d\nCMD a\n", "Dockerfile:2: unsupported flag --bad"},
      {"FROM x\nRUN --network=host a\nCMD a\n",
       "Dockerfile:2: RUN --network is none or default, not \"host\": a build has no other "
       "network"},
      {"FROM x\nRUN --mount=type=cache,target=/c a\n", "Dockerfile:2: unsupported flag --mount"},
      {"FROM x\nEXPOSE 99999\nCMD a\n",
       "Dockerfile:2: EXPOSE takes ports such as 8080 or 8080/tcp, not 99999"},
      {"FROM x\nENV A\nCMD a\n", "Dockerfile:2: ENV must be NAME=value"},
      {"FROM x\nFROM y\nCMD a\n",
       "Dockerfile:2: a second FROM: multi-stage builds are not supported, use one stage"},
      {"FROM ${A\n", "Dockerfile:1: missing } in a variable"},
  };
  for (const auto& [text, message] : rows) {
    CAPTURE(text);
    CHECK(context.error(text) == message);
  }
}

TEST_CASE("context: collects a directory without what is ignored, links as links") {
  const Context context;
  const BuildContext opened = context.open();
  const auto sources = opened.resolve(".");
  REQUIRE(sources);
  std::vector<FileToPut> files;
  REQUIRE(opened.collect(sources->front(), "/app", files));
  std::vector<std::string> paths;
  for (const FileToPut& file : files) paths.push_back(file.path);
  CHECK(paths == std::vector<std::string>{"/app/.dockerignore", "/app/app.py", "/app/in",
                                          "/app/out", "/app/src", "/app/src/a.txt", "/app/src/deep",
                                          "/app/src/deep/b.txt"});
  CHECK(files[3].type == FileToPut::Type::symlink);
  CHECK(files[3].link_target == "/etc");
}

TEST_CASE("context: a byte order mark or Windows line ends lose no ignore rule") {
  const Context context;
  for (const char* text :
       {"\xEF\xBB\xBF"
        "app.py\nsrc/*.log\n",
        "\xEF\xBB\xBF# secrets\r\napp.py\r\nsrc/*.log\r\n", "  app.py\n\tsrc/*.log"}) {
    context.write_ignore_file(text);
    CAPTURE(text);
    CHECK_FALSE(context.open().resolve("app.py"));
    CHECK_FALSE(context.open().resolve("src/skip.log"));
    CHECK(context.open().resolve("src/a.txt"));
  }
}

TEST_CASE("context: without a readable .dockerignore there is no build") {
  const Context context;
  const auto error = [&] {
    const auto opened = BuildContext::open(context.dir());
    REQUIRE_FALSE(opened);
    return opened.error().message;
  };
  const fs::path file = context.dir() / ".dockerignore";
  context.write_ignore_file(
      std::string_view("\xFF\xFE"
                       "a\0",
                       4));
  CHECK(error() == file.string() + ": its text is UTF-16: save it as UTF-8");
  context.write_ignore_file(std::string_view("a\0p\0", 4));
  CHECK(error() == file.string() + ": not a text file: save it as UTF-8");
  context.write_ignore_file(std::string((1 << 20) + 1, 'a'));
  CHECK(error() == ".dockerignore is larger than 1 MiB");
  fs::remove(file);
  CHECK(context.open().resolve("src/skip.log"));
  fs::create_symlink("gone", file);
  CHECK(error().starts_with("open " + file.string()));
  fs::remove(file);
  fs::create_directory(file);
  CHECK(error() == file.string() + ": not a regular file");
}

TEST_CASE("plan: an instruction after an escaped backslash is not lost") {
  const Context context;
  const auto plan = context.plan("FROM x\nENV C trailing\\\\backslash\\\\\nENV D x\nCMD a\n");
  REQUIRE(plan);
  REQUIRE(plan->config.env.size() == 3);
  CHECK(plan->config.env[1] == "C=trailing\\backslash\\");
  CHECK(plan->config.env[2] == "D=x");
}

TEST_CASE("context: a link inside the context is followed, wildcards match one directory") {
  const Context context;
  const BuildContext opened = context.open();
  const auto linked = opened.resolve("in/a.txt");
  REQUIRE(linked);
  CHECK(linked->front().path == "src/a.txt");
  const auto matched = opened.resolve("src/*.txt");
  REQUIRE(matched);
  CHECK(matched->size() == 1);
  CHECK_FALSE(opened.resolve("src/*.none"));
}
