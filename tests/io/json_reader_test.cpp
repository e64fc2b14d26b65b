#include "io/json_reader.h"

#include <limits>

#include "ernie_image/precision.h"
#include "test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;

class JsonReaderTest : public test::TemporaryFolder {
 protected:
  JsonReader read(std::string_view json) const {
    return JsonReader::open(write("config.json", json));
  }
  void expect_rejected(std::string_view json, const std::string& part) const {
    expect_error(ErrorKind::corrupt_file, {path("config.json"), part}, [&] { read(json); });
  }
};

TEST_F(JsonReaderTest, ReadsEveryType) {
  const JsonReader config = read(
      R"({"i": -3, "n": 1e6, "whole": 7, "b": true, "t": "静か", "l": [1, 2], "o": {"x": 5}})");
  EXPECT_EQ(config.integer("i", 0, -10, 10), -3);
  EXPECT_EQ(config.integer("i", -3, -3), -3);
  EXPECT_EQ(config.number("n", 0), 1e6);
  EXPECT_EQ(config.number("whole", 0), 7.0);
  EXPECT_TRUE(config.boolean("b", false));
  EXPECT_EQ(config.text("t", ""), "静か");
  EXPECT_EQ(config.integers("l", {}, 0, 9), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(config.object("o")->integer("x", 0, 0, 9), 5);
}

TEST_F(JsonReaderTest, AbsentAndNullTakeTheFallback) {
  const JsonReader config = read(R"({"null": null})");
  for (const char* key : {"null", "absent"}) {
    EXPECT_FALSE(config.has(key));
    EXPECT_EQ(config.integer(key, 99, 0, 10), 99) << "a fallback is not checked";
    EXPECT_EQ(config.number(key, 0.5), 0.5);
    EXPECT_TRUE(config.boolean(key, true));
    EXPECT_EQ(config.text(key, "x"), "x");
    EXPECT_EQ(config.integers(key, {4}, 0, 1), (std::vector<std::int64_t>{4}));
    EXPECT_FALSE(config.object(key).has_value());
  }
}

TEST_F(JsonReaderTest, ErrorsNameFileKeyFoundAndExpected) {
  const JsonReader config =
      read(R"({"i": 11, "f": 1.5, "s": "abc", "l": [1, "x"], "o": {"n": "deep"}})");
  const std::string file = path("config.json");
  const auto fails = [&](const std::vector<std::string>& parts, const auto& action) {
    expect_error(ErrorKind::corrupt_file, parts, action);
  };
  fails({file, "\"i\" is 11", "from 0 to 10"}, [&] { config.integer("i", 0, 0, 10); });
  fails({"\"f\" is 1.5", "whole number"}, [&] { config.integer("f", 0, 0, 10); });
  fails({"\"none\" is missing", "from 1 to 2"}, [&] { config.integer("none", 1, 2); });
  fails({"\"s\" is \"abc\"", "finite number"}, [&] { config.number("s", 0); });
  fails({"\"s\"", "true or false"}, [&] { config.boolean("s", false); });
  fails({"\"i\"", "a text"}, [&] { config.text("i", ""); });
  fails({"\"l\" is [1,\"x\"]", "list of whole numbers"}, [&] { config.integers("l", {}, 0, 10); });
  fails({"\"i\"", "list of whole numbers"}, [&] { config.integers("i", {}, 0, 10); });
  fails({"\"s\"", "object"}, [&] { config.object("s"); });
  fails({file + ": o: \"n\""}, [&] { config.object("o")->number("n", 0); });
}

TEST_F(JsonReaderTest, IntegersBeyond64BitsAreOutOfRange) {
  constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  const JsonReader config = read(
      R"({"u": 18446744073709551615, "big": 99999999999999999999, "max": 9223372036854775807})");
  EXPECT_EQ(config.integer("max", 0, kMin, kMax), kMax);
  for (const char* key : {"u", "big"}) {
    expect_error(ErrorKind::corrupt_file, {key}, [&] { config.integer(key, 0, kMin, kMax); });
  }
}

TEST_F(JsonReaderTest, RejectsWhatIsNoJsonObject) {
  expect_rejected("{\"a\": ", "not valid JSON");
  expect_rejected("{\"a\": 1} x", "not valid JSON");
  expect_rejected("{\"a\": NaN}", "not valid JSON");
  expect_rejected("{\"a\": 1e999}", "not valid JSON");
  expect_rejected("{\"a\": \"\xff\xfe\"}", "not valid JSON");
  expect_rejected("{\"a\": \"\\ud800\"}", "not valid JSON");
  expect_rejected(std::string_view("{}\0x", 4), "zero byte");
  expect_rejected("[1, 2]", "expected a JSON object");
  expect_rejected("", "empty");
  expect_rejected("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17\n", "git-lfs");
}

TEST_F(JsonReaderTest, RefusesAKeyThatAppearsTwice) {
  expect_rejected(R"({"a": 1, "a": 1})", "\"a\" appears twice");
  expect_rejected(R"({"o": {"b": 1, "c": [], "b": null}})", "\"b\" appears twice");
  EXPECT_TRUE(read(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})").has("b"));
}

TEST_F(JsonReaderTest, WithoutAFallbackAbsenceIsAnError) {
  const JsonReader object = read(R"({"null": null})");
  for (const char* key : {"null", "absent"}) {
    const auto fails = [&](const auto& action) {
      expect_error(ErrorKind::corrupt_file, {std::string("\"") + key + "\" is missing"}, action);
    };
    fails([&] { object.integer(key, 0, 1); });
    fails([&] { object.number(key); });
    fails([&] { object.number(key, 0, 1); });
    fails([&] { object.boolean(key); });
    fails([&] { object.text(key); });
    fails([&] { object.seed(key); });
    fails([&] { object.texts(key, 1); });
    fails([&] { object.seeds(key, 1); });
    fails([&] { object.required_object(key); });
    fails([&] { object.choice<Precision>(key); });
    EXPECT_TRUE(object.objects(key).empty());
  }
}

TEST_F(JsonReaderTest, TellsWhatASenderDidWrong) {
  const JsonReader object = JsonReader::parse(R"({"n": 11, "dtype": "fp64"})", "the body");
  try {
    object.integer("n", 1, 10);
    FAIL();
  } catch (const JsonError& error) {
    EXPECT_EQ(error.key(), "n");
    EXPECT_EQ(error.expected(), "a whole number from 1 to 10");
  }
  expect_error(ErrorKind::corrupt_file, {"the body: \"dtype\"", "one of fp32, bf16"},
               [&] { object.choice<Precision>("dtype"); });
  EXPECT_EQ(object.unknown_key({"n"}), "dtype");
  EXPECT_FALSE(object.unknown_key({"n", "dtype"}));
}

TEST_F(JsonReaderTest, WholeNumbersMayBeWrittenWithAPoint) {
  const JsonReader object = read(R"({"a": 8.0, "b": 8.5, "c": 1e300, "d": -0.0})");
  EXPECT_EQ(object.integer("a", 0, 10), 8);
  EXPECT_EQ(object.integer("d", 0, 10), 0);
  EXPECT_THROW(object.integer("b", 0, 10), JsonError);
  EXPECT_THROW(object.integer("c", 0, 10), JsonError);
}

std::string nested(int depth) {
  return R"({"a":)" + std::string(depth - 1, '[') + "1" + std::string(depth - 1, ']') + "}";
}

TEST_F(JsonReaderTest, NestingIsLimitedTo64Levels) {
  EXPECT_TRUE(read(nested(64)).has("a"));
  expect_rejected(nested(65), "deeper than 64");
  expect_rejected(nested(1'000'000), "deeper than 64");
  expect_rejected(std::string(1'000'000, '['), "deeper than 64");
  EXPECT_EQ(read(R"({"t": "[[[[\"{{{{\\", "x": 1})").integer("x", 0, 0, 9), 1);
}

TEST_F(JsonReaderTest, RejectsFilesAbove64MiB) {
  expect_rejected("{}" + std::string((64 << 20) - 1, ' '), "64 MiB");
}

TEST_F(JsonReaderTest, LongAndControlCharactersInMessagesAreTamed) {
  const JsonReader config = read(R"({"s": "\u001b[31m)" + std::string(5000, 'x') + "\"}");
  try {
    config.number("s", 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 500u);
    EXPECT_EQ(std::string(error.what()).find('\x1b'), std::string::npos);
  }
}

TEST_F(JsonReaderTest, ReadsManyObjectsInLinearTime) {
  // A quadratic parser would take minutes, and the test's time limit would end it.
  std::string many = R"({"x": 3, "l": [{})";
  for (int i = 0; i < 1'000'000; ++i) many += ",{}";
  EXPECT_EQ(read(many + "]}").integer("x", 0, 0, 9), 3);
}

}  // namespace
}  // namespace ernie_image
