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

TEST(CliFrameTest, WithJsonTheErrorIsAnObjectOnStdout) {
  const Finished finished = run_tender({"no-such-command", "--json"});
  EXPECT_EQ(finished.exit_code, 2);
  const auto document = nlohmann::json::parse(finished.out);
  EXPECT_EQ(document["version"], 1);
  EXPECT_EQ(document["error"]["code"], "USAGE");
}

}  // namespace
}  // namespace tender::testing
