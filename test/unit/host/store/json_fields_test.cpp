#include "host/store/json_fields.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::host;

namespace {

std::string nested(size_t levels) {
  return R"({"a":)" + std::string(levels - 1, '[') + std::string(levels - 1, ']') + "}";
}

}  // namespace

TEST_CASE("json: every kind of value is read back as it was written") {
  const std::vector<uint16_t> ports = {80, 65535};
  const std::map<std::string, std::string> labels = {{"k", "ü"}};
  const Json written = {
      {"text", "a\"b"},           {"largest", UINT64_MAX},
      {"ports", ports},           {"labels", labels},
      {"inner", {{"number", 7}}}, {"several", std::vector<Json>{{{"n", 1}}, {{"n", 2}}}}};
  const auto text = dump_json(written, "it");
  REQUIRE(text);
  const auto read = parse_json_object(*text, 4096, "it");
  REQUIRE(read);
  FieldErrors errors{"it", {}};
  const Fields fields(*read, errors);
  CHECK(fields.text("text", 16) == "a\"b");
  CHECK(fields.number("largest", UINT64_MAX) == UINT64_MAX);
  CHECK(fields.numbers("ports", 2, 65535) == std::vector<uint64_t>{80, 65535});
  CHECK(fields.text_map("labels", 1, 16) == labels);
  CHECK(fields.child("inner").number("number", 7) == 7);
  const auto several = fields.children("several", 2);
  REQUIRE(several.size() == 2);
  CHECK(several[1].number("n", 2) == 2);
  CHECK_FALSE(errors.first);
}

TEST_CASE("json: a number below zero stays one, and is no whole number to a reader") {
  CHECK(json_line({{"n", -5}}) == R"({"n":-5})");
  const Json document = {{"n", -5}};
  FieldErrors errors{"it", {}};
  CHECK(Fields(document, errors).number("n", UINT64_MAX) == 0);
  REQUIRE(errors.first);
  CHECK(errors.first->message == "it: \"n\" is not a whole number");
}

TEST_CASE("json: a copy is not changed with its source") {
  Json one = {{"n", 1}};
  const Json copy = one;
  one.set("n", 2);
  one.set("m", {{"deep", 3}});
  CHECK(json_line(copy) == R"({"n":1})");
  CHECK(json_line(one) == R"({"m":{"deep":3},"n":2})");
}

TEST_CASE("json: text that is not UTF-8 is refused in a document and replaced in a line") {
  const Json document = {{"t", "a\xff"}};
  const auto dumped = dump_json(document, "it");
  REQUIRE_FALSE(dumped);
  CHECK(dumped.error().code == ErrorCode::invalid_argument);
  CHECK(json_line(document) == "{\"t\":\"a\xef\xbf\xbd\"}");
}

TEST_CASE("json: what is too deep, too large or not an object is refused") {
  CHECK(parse_json_object(nested(16), 4096, "it"));
  const auto message = [](const std::string& text, size_t max_bytes) {
    const auto parsed = parse_json_object(text, max_bytes, "it");
    return parsed ? "" : parsed.error().message;
  };
  CHECK(message(nested(17), 4096) == "it: nested too deeply");
  CHECK(message("{}", 1) == "it: larger than 1 bytes");
  for (const char* text : {"", "[]", "{", "7", "{\"a\":1e999}", "{} x"}) {
    CHECK(message(text, 4096) == "it: not a JSON object (damaged or cut short)");
  }
}

TEST_CASE("json: a list of texts is one of nothing else") {
  using Texts = std::vector<std::string>;
  CHECK(parse_json_texts(R"( ["a", "]"] )") == Texts{"a", "]"});
  CHECK(parse_json_texts("[]") == Texts{});
  for (const char* text :
       {R"(["a", 1])", R"([["a"]])", R"({"a":"b"})", R"("a")", "[\"a\"", "[1e999]"})
    CHECK_FALSE(parse_json_texts(text));
  CHECK_FALSE(parse_json_texts(std::string(100'000, '[')));
}
