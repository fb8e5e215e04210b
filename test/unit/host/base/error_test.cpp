// Messages are one line, whatever the caller or a guest named.
#include "base/error.hpp"

#include <doctest/doctest.h>

#include "microvm/runtime.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;

TEST_CASE("error: line breaks in a message are written out") {
  const auto message = [](const base::Failure& failure) { return failure.value().message; };
  CHECK(message(base::fail(ErrorCode::not_found, "no image \"a\nb\r\n\"")) ==
        "no image \"a\\nb\\r\\n\"");
  CHECK(message(base::fail(Error{ErrorCode::io, "\n"})) == "\\n");
  CHECK(message(base::fail_errno("open a\nb", ENOENT)) == "open a\\nb: No such file or directory");
  CHECK(message(base::fail(ErrorCode::io, "as \\n it is\t")) == "as \\n it is\t");
}

TEST_CASE("error: but for the output of a build") {
  const std::string text = "the command ended; its last output:\none\ntwo";
  CHECK(base::fail(ErrorCode::build_failed, text).value().message == text);
  const std::string late = "RUN x: exec: the time limit passed; last output:\none\ntwo";
  CHECK(base::fail(ErrorCode::deadline_exceeded, late).value().message == late);
}

TEST_CASE("error: of a runtime's calls too") {
  const test::TempDir dir;
  auto runtime = Runtime::open({.data_dir = dir.path(), .log = {}, .on_event = {}});
  REQUIRE(runtime);
  const std::string name = "no\nsuch\rname";
  const auto is_one_line = [](const auto& result) {
    REQUIRE_FALSE(result);
    CHECK_MESSAGE(result.error().message.find_first_of("\r\n") == std::string::npos,
                  result.error().message);
    return result.error().message.find("no\\nsuch\\rname") != std::string::npos;
  };
  CHECK(is_one_line(runtime->import_kernel(name)));
  CHECK(is_one_line(runtime->import_base("debian:12", dir.path() / name)));
  static_cast<void>(is_one_line(runtime->image(name)));
  static_cast<void>(is_one_line(runtime->run(name)));
  static_cast<void>(is_one_line(runtime->attach(name)));
  static_cast<void>(is_one_line(runtime->remove_vm(name)));
  static_cast<void>(is_one_line(runtime->run_checkpoint(name)));
  static_cast<void>(is_one_line(runtime->build({.context = dir.path() / name, .tag = name})));
}
