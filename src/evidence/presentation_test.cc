#include "evidence/presentation.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tender::evidence {
namespace {

OrderedJson cell(double perplexity) {
  return {{"perplexity", {{"value", perplexity}, {"error", nullptr}}}};
}

TEST(Presentation, ARowSaysWhatItsCalibratedRangesDidNotHold) {
  OrderedJson wiki = cell(11), stories = cell(12);
  wiki["counts"] = {
      {"qkv", {{"rows", 10}, {"values", 1000}, {"clipped", 5}, {"beyond", 0}}},
      {"down_proj", {{"rows", 10}, {"values", 3000}, {"clipped", 15}, {"beyond", 4}}}};
  stories["counts"] = {{"qkv", {{"rows", 10}, {"values", 1000}, {"clipped", 0}, {"beyond", 0}}}};
  const OrderedJson row = {{"group", "INT8"},
                           {"name", "static"},
                           {"remark", "a remark"},
                           {"texts", {{"wiki", wiki}, {"stories", stories}}}};
  const OrderedJson document = {{"protocol", "gptq"},
                                {"missing", OrderedJson::array()},
                                {"tables",
                                 {{{"model", "m"},
                                   {"seqlen", 32},
                                   {"base", {{"wiki", cell(10)}, {"stories", cell(10)}}},
                                   {"rows", {row}}}}}};
  const std::string expected =
      "a remark; wiki: 0.5 % of values clipped; wiki: 20 % of rows past the calibrated positions";
  EXPECT_NE(tables_markdown(document).find("| " + expected + " |"), std::string::npos)
      << tables_markdown(document);
  EXPECT_NE(tables_text(document).find(expected + "\n"), std::string::npos);
}

}  // namespace
}  // namespace tender::evidence
