#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace tender {
namespace {

JsonProblem::Kind problem_of(std::string_view text) {
  JsonProblem problem;
  parse_json(text, problem);
  return problem.kind;
}

TEST(JsonTest, WhatIsNotStrictJsonIsNamed) {
  using Kind = JsonProblem::Kind;
  EXPECT_EQ(problem_of(R"({"a":[1,2.5,null,true,"x"]})"), Kind::none);
  EXPECT_EQ(problem_of(R"({"a":1)"), Kind::syntax);
  EXPECT_EQ(problem_of(R"({"a":1} x)"), Kind::syntax);
  EXPECT_EQ(problem_of(""), Kind::syntax);
  EXPECT_EQ(problem_of(R"({"a":1,"a":2})"), Kind::duplicate_key);
  EXPECT_EQ(problem_of(R"({"b":{"a":1,"a":2}})"), Kind::duplicate_key);
  EXPECT_EQ(problem_of("{\"a\":\"\xff\"}"), Kind::utf8);
  EXPECT_EQ(problem_of("\xef\xbb\xbf{}"), Kind::byte_order_mark);
  EXPECT_EQ(problem_of(std::string(64, '[') + std::string(64, ']')), Kind::none);
  EXPECT_EQ(problem_of(std::string(65, '[') + std::string(65, ']')), Kind::depth);
  EXPECT_EQ(problem_of(std::string(5'000'000, '[')), Kind::depth);
}

TEST(JsonTest, TheValueIsTheOneOfTheLibrarysOwnParser) {
  for (const char* text :
       {R"({"object": {"z": {}, "a": {"b": [[], {}, [[1, {"c": [2]}], 3]]}, "": 0}, "empty": []})",
        R"([0, -0, 1, -1, 9223372036854775807, -9223372036854775808, 9223372036854775808,
               18446744073709551615, 18446744073709551616, -9223372036854775809])",
        R"([0.0, -0.0, 1e0, 0.1, -2.5E+3, 1e-400, 1.7976931348623157e308, 3.0])",
        R"(["", "\"\\\/\b\f\n\r\t", "\u0000\u00e9\u4e2d\ud83d\ude00", "é中😀", {"\u0061\n": "b"}])",
        "[null, true, false]", " null\n", "true", "-17", "1.5", "\"text\"", "[]", "{}"}) {
    JsonProblem problem;
    const Json value = parse_json(text, problem);
    const Json expected = Json::parse(text);
    EXPECT_EQ(problem.kind, JsonProblem::Kind::none) << text;
    EXPECT_EQ(value, expected) << text;
    EXPECT_EQ(value.dump(), expected.dump()) << text;  // tells 1 from 1.0, and 0.0 from -0.0
    const Json leaves = value.flatten();
    const Json expected_leaves = expected.flatten();
    for (const auto& [place, leaf] : expected_leaves.items())
      EXPECT_EQ(leaves.at(place).type(), leaf.type()) << text << " at " << place;
  }
}

TEST(JsonTest, TheFirstProblemSaysWhereItIs) {
  JsonProblem problem;
  parse_json(R"({"a":[{"b":1,"b":2,"b":3}],"a":4,)", problem);
  EXPECT_EQ(problem.kind, JsonProblem::Kind::duplicate_key);
  EXPECT_EQ(problem.key, "b");
  EXPECT_EQ(problem.depth, 3U);
  EXPECT_EQ(problem.description, "duplicate key 'b'");
  parse_json(R"({"a":[1,]})", problem);
  EXPECT_EQ(problem.kind, JsonProblem::Kind::syntax);
  EXPECT_EQ(problem.offset, 8U);
  EXPECT_EQ(problem.depth, 2U);
  EXPECT_EQ(problem.key, "");
  parse_json("[1e999]", problem);
  EXPECT_EQ(problem.kind, JsonProblem::Kind::syntax);
  EXPECT_EQ(problem.depth, 1U);
  parse_json(std::string(65, '['), problem);
  EXPECT_EQ(problem.depth, 65U);
  EXPECT_EQ(problem.description, "nesting deeper than 64");
}

TEST(JsonTest, TheErrorCarriesTheReadersCodeAndTheFile) {
  try {
    parse_json("{", "config.json", "HF_CONFIG_JSON");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "HF_CONFIG_JSON");
    EXPECT_EQ(error.details().file, "config.json");
  }
}

}  // namespace
}  // namespace tender
