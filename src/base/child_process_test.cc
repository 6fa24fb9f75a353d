#include "base/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace tender {
namespace {

using ::testing::HasSubstr;

const Progress kPatient;

TEST(ChildProcess, AnswersLinesWithLinesHoweverLong) {
  ChildProcess child({"sh", "-c", "while read -r line; do echo \"got $line\"; done"});
  child.write_line("one");
  child.write_line("two");
  EXPECT_EQ(child.read_line(kPatient), "got one");
  EXPECT_EQ(child.read_line(kPatient), "got two");
  const std::string wide(20'000, 'x');
  child.write_line(wide);
  EXPECT_EQ(child.read_line(kPatient), "got " + wide);
}

TEST(ChildProcess, OneThatEndsIsAnErrorWithWhatItSaid) {
  ChildProcess child({"sh", "-c", "echo last words >&2; exit 3"});
  try {
    child.read_line(kPatient);
    FAIL() << "it answered";
  } catch (const Error& error) {
    EXPECT_EQ(error.details().code, "CHILD_ENDED");
    EXPECT_THAT(error.what(), HasSubstr("status 3"));
    EXPECT_THAT(error.what(), HasSubstr("last words"));
  }
}

TEST(ChildProcess, WritingToOneThatEndedIsAnErrorAndNoSignal) {
  ChildProcess child({"sh", "-c", "kill -9 $$"});
  try {
    for (;;) child.write_line("anybody there?");
  } catch (const Error& error) {
    EXPECT_EQ(error.details().code, "CHILD_ENDED");
    EXPECT_THAT(error.what(), HasSubstr("signal 9"));
  }
}

TEST(ChildProcess, OneThatClosesItsOutputAndStaysIsNotWaitedFor) {
  ChildProcess child({"sh", "-c", "exec 0<&- 1>&-; exec sleep 1000"});
  try {
    child.read_line(kPatient);
    FAIL() << "it answered";
  } catch (const Error& error) {
    EXPECT_EQ(error.details().code, "CHILD_ENDED");
    EXPECT_THAT(error.what(), HasSubstr("signal 9"));
  }
}

TEST(ChildProcess, WaitingForOneEndsWhenTheUserWantsIt) {
  class Impatient : public Progress {
   public:
    bool cancelled() const override { return true; }
  };
  ChildProcess child({"sleep", "1000"});
  try {
    child.read_line(Impatient());
    FAIL() << "it answered";
  } catch (const Error& error) {
    EXPECT_EQ(error.details().code, "CANCELLED");
  }
}

TEST(ChildProcess, AProgramThatIsNotThereIsNamed) {
  try {
    ChildProcess child({"no-such-program-anywhere"});
    FAIL() << "it started";
  } catch (const Error& error) {
    EXPECT_EQ(error.details().code, "CHILD_START");
    EXPECT_THAT(error.what(), HasSubstr("no-such-program-anywhere"));
  }
}

TEST(ChildProcess, OneThatDoesNotListenEndsWithItsOwner) {
  { const ChildProcess child({"sleep", "1000"}); }
  SUCCEED();
}

}  // namespace
}  // namespace tender
