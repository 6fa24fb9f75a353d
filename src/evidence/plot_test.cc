#include "evidence/plot.h"

#include <gtest/gtest.h>

#include <regex>

namespace tender::evidence {
namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
    ++found;
  return found;
}

Panel panel() {
  return {.title = "a < b & c",
          .x_label = "groups",
          .y_label = "perplexity",
          .log_x = false,
          .curves = {{"INT8", {{1, 40}, {2, 20}, {4, 18}}}, {"INT4", {{1, 9000}, {4, 60}}}},
          .base = 17};
}

TEST(Plot, HasAMarkForEveryPointALineForEveryCurveAndOneForTheBase) {
  const std::string drawn = svg("title", {panel()});
  EXPECT_EQ(count(drawn, "<polyline"), 2U);
  EXPECT_EQ(count(drawn, "<circle"), 3U);
  EXPECT_EQ(count(drawn, "<rect"), 2U + 1U);  // marks and the ground
  EXPECT_EQ(count(drawn, ">float 17<"), 1U);
  for (const char* text : {">INT8<", ">INT4<", ">groups<", ">perplexity<", "<title>2: 20</title>"})
    EXPECT_EQ(count(drawn, text), 1U) << text;
}

TEST(Plot, TextsCannotBreakTheMarkup) {
  const std::string drawn = svg("x < y", {panel()});
  EXPECT_EQ(count(drawn, "a &lt; b &amp; c"), 1U);
  EXPECT_EQ(count(drawn, "a < b"), 0U);
}

TEST(Plot, ALargerValueStandsHigherAndEveryPointStandsWithinThePicture) {
  const std::string drawn = svg("t", {panel()});
  const std::regex mark(R"re(<circle cx="([0-9.]+)" cy="([0-9.]+)")re");
  double before = 0;
  int seen = 0;
  for (auto at = std::sregex_iterator(drawn.begin(), drawn.end(), mark);
       at != std::sregex_iterator(); ++at, ++seen) {
    const double x = std::stod((*at)[1]), y = std::stod((*at)[2]);
    EXPECT_GT(x, 0);
    EXPECT_LT(x, 460);
    EXPECT_GT(y, before) << "values fall, so places go down";
    EXPECT_LT(y, 340);
    before = y;
  }
  EXPECT_EQ(seen, 3);
}

TEST(Plot, OneValueAloneIsDrawnToo) {
  Panel alone = panel();
  alone.curves = {{"one", {{8, 20}}}};
  alone.base = 0;
  const std::string drawn = svg("t", {alone});
  EXPECT_EQ(drawn.find("nan"), std::string::npos);
  EXPECT_EQ(drawn.find("inf"), std::string::npos);
  EXPECT_EQ(count(drawn, "<circle"), 1U);
}

}  // namespace
}  // namespace tender::evidence
