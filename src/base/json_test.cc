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
