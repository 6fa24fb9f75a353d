#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"
#include "tests/support/test_support.h"

namespace tender::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using Ids = std::vector<int>;

/// A directory with nothing but a tokenizer: a, b, ab, a blank, and BOS.
class TokenizeCommandTest : public ::testing::Test {
 protected:
  TokenizeCommandTest() {
    write_text(folder_ / "tokenizer.json",
               R"({"added_tokens":[{"id":4,"content":"<s>","special":true,"normalized":false}],
                   "post_processor":{"type":"TemplateProcessing",
                     "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
                     "special_tokens":{"<s>":{"id":"<s>","ids":[4],"tokens":["<s>"]}}},
                   "decoder":{"type":"Fuse"},
                   "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2," ":3},"merges":["a b"]}})");
  }
  Finished tokenize(std::vector<std::string> more) const {
    more.insert(more.begin(), {"tokenize", folder_.path()});
    return run_tender(more);
  }
  Ids ids(std::vector<std::string> more) const {
    more.push_back("--json");
    const Finished finished = tokenize(more);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    const Json json = Json::parse(finished.out);
    EXPECT_EQ(json["version"], 1);
    return json["ids"].get<Ids>();
  }
  TemporaryFolder folder_;
};

TEST_F(TokenizeCommandTest, TextBecomesIdsAndIdsBecomeText) {
  EXPECT_EQ(ids({"--prompt", "ab a"}), (Ids{4, 2, 3, 0}));
  EXPECT_EQ(tokenize({"--prompt", "ab a"}).out, "4,2,3,0\n");
  EXPECT_EQ(tokenize({"--decode", "4,2,3,0"}).out, "<s>ab a\n");
  EXPECT_EQ(tokenize({"--decode", "4 2 3 0", "--no-special"}).out, "ab a\n");
  EXPECT_EQ(Json::parse(tokenize({"--decode", "2,1", "--json"}).out)["text"], "abb");
}

TEST_F(TokenizeCommandTest, SpecialTokensAreAddedAndReadUnlessForbidden) {
  EXPECT_EQ(ids({"--prompt", "<s>a", "--no-special"}), (Ids{4, 0}));
  EXPECT_EQ(ids({"--prompt", "<s>a", "--no-special", "--literal"}), (Ids{0}))
      << "unknown characters vanish here";
}

TEST_F(TokenizeCommandTest, AFileIsTakenByteForByteAndAnEmptyOneHasNoIds) {
  write_text(folder_ / "text.txt", "ab ");
  write_text(folder_ / "empty.txt", "");
  EXPECT_EQ(ids({"--text", folder_ / "text.txt"}), (Ids{4, 2, 3}));
  EXPECT_EQ(ids({"--text", folder_ / "empty.txt"}), Ids{});
}

TEST_F(TokenizeCommandTest, WhatIsWrongIsSaidWithTheRightExitCode) {
  EXPECT_EQ(tokenize({}).exit_code, 2) << "no text";
  EXPECT_EQ(tokenize({"--prompt", "a", "--decode", "1"}).exit_code, 2) << "two inputs";
  const Finished letters = tokenize({"--decode", "1,x"});
  EXPECT_EQ(letters.exit_code, 2);
  EXPECT_THAT(letters.err, HasSubstr("CLI_IDS"));
  const Finished beyond = tokenize({"--decode", "77"});
  EXPECT_EQ(beyond.exit_code, 1);
  EXPECT_THAT(beyond.err, HasSubstr("77"));
  EXPECT_EQ(tokenize({"--text", folder_ / "absent.txt"}).exit_code, 1);
  const TemporaryFolder nothing;
  const Finished missing = run_tender({"tokenize", nothing.path(), "--prompt", "a", "--json"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(Json::parse(missing.out)["error"]["code"], "TK_MISSING");
}

}  // namespace
}  // namespace tender::testing
