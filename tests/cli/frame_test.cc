#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"

namespace tender::testing {
namespace {

TEST(CliFrameTest, VersionAndHelpGoToStdoutAndEndWithZero) {
  const Finished version = run_tender({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.out.substr(0, 7), "tender ");
  const Finished help = run_tender({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("Exit codes"), std::string::npos);
  EXPECT_EQ(help.err, "");
}

TEST(CliFrameTest, AWrongCommandLineEndsWithTwoAndOneSentence) {
  for (const auto& arguments :
       {std::vector<std::string>{}, {"no-such-command"}, {"--no-such-flag"}}) {
    const Finished finished = run_tender(arguments);
    EXPECT_EQ(finished.exit_code, 2);
    EXPECT_EQ(finished.out, "");
    EXPECT_NE(finished.err.find("tender: error USAGE: "), std::string::npos) << finished.err;
    EXPECT_NE(finished.err.find("  hint: "), std::string::npos) << finished.err;
  }
}

TEST(CliFrameTest, AnUnknownCommandIsNamedAndTheKnownOnesAreListed) {
  const Finished finished = run_tender({"quantise", "model", "--method", "rtn"});
  EXPECT_EQ(finished.exit_code, 2);
  EXPECT_NE(finished.err.find("unknown command 'quantise': there are "), std::string::npos);
}

TEST(CliFrameTest, NegativeNumbersAreRefusedWhereNoneCanStand) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"eval", "perplexity", "m", "--text", "t", "--limit", "-1"},
        {"generate", "m", "--prompt", "x", "--top-k", "-1"},
        {"quantize", "m", "o", "--method", "rtn", "--seed", "-1"},
        {"bench", "m", "-p", "-1"},
        {"bench", "m", "--threads", "0"}}) {
    const Finished finished = run_tender(arguments);
    EXPECT_EQ(finished.exit_code, 2) << arguments.front() << finished.err;
    EXPECT_NE(finished.err.find("error USAGE"), std::string::npos) << finished.err;
  }
}

TEST(CliFrameTest, TokenIdsAreReadStrictly) {
  for (const std::string ids : {"", "1,,2", "1,2,", ",1", "1;2", "-1", "99999999999", "x"})
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"logits", "m", "--tokens=" + ids},
          {"tokenize", "m", "--decode=" + ids}}) {
      const Finished finished = run_tender(arguments);
      EXPECT_EQ(finished.exit_code, 2) << ids << finished.err;
    }
}

TEST(CliFrameTest, WithJsonTheErrorIsAnObjectOnStdout) {
  const Finished finished = run_tender({"no-such-command", "--json"});
  EXPECT_EQ(finished.exit_code, 2);
  const auto document = nlohmann::json::parse(finished.out);
  EXPECT_EQ(document["version"], 1);
  EXPECT_EQ(document["error"]["code"], "USAGE");
}

}  // namespace
}  // namespace tender::testing
