#include "host/image/dockerfile.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace microvm;
using namespace microvm::host;

namespace {

Dockerfile parse(std::string_view text) {
  auto file = parse_dockerfile(text, "Dockerfile");
  REQUIRE_MESSAGE(file, (file ? "" : file.error().message));
  return std::move(*file);
}

std::string error_of(std::string_view text) {
  const auto file = parse_dockerfile(text, "Dockerfile");
  REQUIRE_FALSE(file);
  CHECK(file.error().code == ErrorCode::syntax);
  return file.error().message;
}

}  // namespace

TEST_CASE("dockerfile: instructions keep their line, words are case-insensitive") {
  const auto file = parse("# comment\n\nfrom debian\nRUN a\n");
  REQUIRE(file.instructions.size() == 2);
  CHECK(file.instructions[0].kind == InstructionKind::from);
  CHECK(file.instructions[0].line == 3);
  CHECK(file.instructions[1].args.front() == "a");
  CHECK(file.instructions[1].line == 4);
}

TEST_CASE("dockerfile: continuation lines are joined over comments and empty lines") {
  const auto file = parse("FROM x\nRUN a \\\n  # not part\n\n  b\nRUN c\r\n");
  CHECK(file.instructions[1].args.front() == "a   b");
  CHECK(file.instructions[1].line == 2);
  CHECK(file.instructions[2].args.front() == "c");
  CHECK(file.instructions[2].line == 6);
}

TEST_CASE("dockerfile: the escape directive changes the continuation character") {
  const auto file = parse("# escape=`\nFROM x\nRUN a `\nb\n");
  CHECK(file.escape == '`');
  CHECK(file.instructions[1].args.front() == "a b");
  CHECK(error_of("# escape=x\nFROM y\n") == "Dockerfile:1: the escape directive takes \\ or `");
}

TEST_CASE("dockerfile: an escaped escape character at a line's end joins nothing to it") {
  const struct {
    const char* text;
    const char* first;
    size_t instructions;
  } rows[] = {
      {"FROM x\nRUN a\\\\\nRUN b\n", "a\\\\", 3},
      {"FROM x\nRUN a\\\\ \t\nRUN b\n", "a\\\\", 3},
      {"FROM x\r\nRUN a\\\\\r\nRUN b\r\n", "a\\\\", 3},
      {"FROM x\nRUN a\\ \t\nRUN b\n", "aRUN b", 2},
      {"FROM x\nRUN a\\\r\nRUN b\r\n", "aRUN b", 2},
      {"FROM x\nRUN a \\\n  \\\nRUN b\n", "a   RUN b", 2},
      // As in BuildKit, which cannot tell three of them from two.
      {"FROM x\nRUN a\\\\\\\nRUN b\n", "a\\\\\\", 3},
      {"# escape=`\nFROM x\nRUN a``\nRUN b\n", "a``", 3},
      {"# escape=`\nFROM x\nRUN a\\\nRUN b\n", "a\\", 3},
      {"# escape=`\nFROM x\nRUN a\\`\nRUN b\n", "a\\RUN b", 2},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    const auto file = parse(row.text);
    CHECK(file.instructions.size() == row.instructions);
    CHECK(file.instructions[1].args.front() == row.first);
  }
}

TEST_CASE("dockerfile: a UTF-8 byte order mark is skipped, UTF-16 is named") {
  CHECK(parse("\xEF\xBB\xBF"
              "FROM x\n")
            .instructions.size() == 1);
  CHECK(parse("\xEF\xBB\xBF# escape=`\nFROM x\nRUN a `\nb\n").escape == '`');
  CHECK(error_of("\xEF\xBB\xBF\xEF\xBB\xBF"
                 "FROM x\n")
            .starts_with("Dockerfile:1: unknown"));
  CHECK(error_of(std::string_view("\xFF\xFE"
                                  "F\0R\0",
                                  6)) == "Dockerfile: its text is UTF-16: save it as UTF-8");
  CHECK(error_of(std::string_view("\xFE\xFF"
                                  "\0F\0R",
                                  6)) == "Dockerfile: its text is UTF-16: save it as UTF-8");
  CHECK(error_of(std::string_view("F\0R\0", 4)) == "Dockerfile: not a text file: save it as UTF-8");
}

TEST_CASE("dockerfile: exec form is a JSON array of strings, all else is text") {
  const auto file = parse("FROM x\nCMD [\"a\", \"b c\"]\nCMD [a]\nRUN [ -f /x ]\nCMD []\n");
  CHECK(file.instructions[1].exec_form);
  CHECK(file.instructions[1].args == std::vector<std::string>{"a", "b c"});
  CHECK_FALSE(file.instructions[2].exec_form);
  CHECK(file.instructions[3].args.front() == "[ -f /x ]");
  CHECK(file.instructions[4].exec_form);
}

TEST_CASE("dockerfile: flags stand before the arguments") {
  const auto file =
      parse("FROM --platform=linux/amd64 x\nCOPY --chown=1:2 --link a b\nCMD --not-a-flag\n");
  CHECK(file.instructions[0].flags.front().value == "linux/amd64");
  REQUIRE(file.instructions[1].flags.size() == 2);
  CHECK(file.instructions[1].flags[0].name == "chown");
  CHECK(file.instructions[1].flags[1].name == "link");
  CHECK(file.instructions[1].args.front() == "a b");
  CHECK(file.instructions[2].args.front() == "--not-a-flag");
}

TEST_CASE("dockerfile: heredocs are read up to their end word") {
  const auto file =
      parse("FROM x\nRUN <<EOF\necho $A\n# kept\nEOF\nCOPY <<-'E' /f\n\tb\n\tE\nRUN c\n");
  REQUIRE(file.instructions.size() == 4);
  CHECK(file.instructions[1].heredocs[0].content == "echo $A\n# kept\n");
  CHECK(file.instructions[1].heredocs[0].expand);
  CHECK(file.instructions[2].heredocs[0].content == "b\n");
  CHECK_FALSE(file.instructions[2].heredocs[0].expand);
  CHECK(file.instructions[3].line == 9);
  CHECK(parse("FROM x\nRUN echo $((1<<2))\n").instructions[1].heredocs.empty());
}

TEST_CASE("dockerfile: mistakes are named with file and line") {
  CHECK(error_of("FROM x\n\nRNU a\n") == "Dockerfile:3: unknown instruction: RNU");
  CHECK(error_of("FROM x\nRUN\n") == "Dockerfile:2: RUN needs arguments");
  CHECK(error_of("FROM x\nRUN <<EOF\nabc\n") == "Dockerfile:2: heredoc <<EOF is not closed");
  CHECK(error_of("# only\n") == "Dockerfile: the Dockerfile has no instructions");
  CHECK(error_of(std::string_view("FROM\0x", 6)) ==
        "Dockerfile: not a text file: save it as UTF-8");
  CHECK(error_of(std::string(kMaxDockerfileBytes + 1, 'x')) == "Dockerfile: larger than 1 MiB");
}

TEST_CASE("dockerfile: deep nesting in an exec form is text, not a crash") {
  const auto file = parse("FROM x\nRUN " + std::string(200'000, '[') + "\n");
  CHECK_FALSE(file.instructions[1].exec_form);
}

TEST_CASE("split_words: quotes and escapes hold words together") {
  const auto words = split_words(R"(a "b c" d\ e 'f g')", '\\');
  REQUIRE(words);
  CHECK(*words == std::vector<std::string>{"a", "\"b c\"", "d\\ e", "'f g'"});
  CHECK_FALSE(split_words("\"open", '\\'));
}

TEST_CASE(
    "split_words: an escape takes the next character's meaning, but not between single quotes") {
  using Words = std::vector<std::string>;
  struct Row {
    const char* text;
    Words words;  // none: refused
  };
  const Row rows[] = {
      {R"("a\" b" c)", {R"("a\" b")", "c"}},
      {R"("a\\" b)", {R"("a\\")", "b"}},
      {R"(a\"b c)", {R"(a\"b)", "c"}},
      {R"(\'a b\')", {R"(\'a)", R"(b\')"}},
      {R"('a\' b)", {R"('a\')", "b"}},
      {R"('a\' b')", {}},
      {R"("it's" b)", {R"("it's")", "b"}},
      {R"('"' b)", {R"('"')", "b"}},
      {R"(a" b"c d)", {R"(a" b"c)", "d"}},
      {R"("a\")", {}},
      {R"(a\)", {R"(a\)"}},
  };
  for (const char escape : {'\\', '`'}) {
    for (const Row& row : rows) {
      const auto with = [&](std::string text) {
        std::ranges::replace(text, '\\', escape);
        return text;
      };
      CAPTURE(with(row.text));
      const auto words = split_words(with(row.text), escape);
      REQUIRE(words.has_value() == !row.words.empty());
      if (!words) continue;
      Words expected;
      for (const std::string& word : row.words) expected.push_back(with(word));
      CHECK(*words == expected);
    }
  }
}
