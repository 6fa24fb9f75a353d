#include "text/stream.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace tender::text {
namespace {

std::string decode(const std::vector<std::string>& pieces) {
  StreamDecoder decoder;
  std::string out;
  for (const std::string& piece : pieces) out += decoder.push(piece) + "|";
  return out + decoder.finish();
}

std::string stop(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  std::string out;
  for (const std::string& piece : pieces) out += matcher.push(piece) + "|";
  return out + matcher.finish() + (matcher.stopped() ? "!" : "");
}

TEST(StreamDecoderTest, ACharacterComesOutWhenItIsWhole) {
  EXPECT_EQ(decode({"a", "b"}), "a|b|");
  EXPECT_EQ(decode({"\xc3", "\xa9"}), "|é|");
  EXPECT_EQ(decode({"x\xf0\x9f", "\x99", "\x82y"}), "x||🙂y|");
  EXPECT_EQ(decode({""}), "|");
}

TEST(StreamDecoderTest, BytesThatCanNeverBecomeACharacterAreReplacedAtOnce) {
  EXPECT_EQ(decode({"a\xff", "b"}), "a\ufffd|b|");
  EXPECT_EQ(decode({"\xc3", "("}), "|\ufffd(|");
  EXPECT_EQ(decode({"\xe0\x80"}), "\ufffd\ufffd|");  // overlong: E0 must be followed by A0 to BF
  EXPECT_EQ(decode({"\xed\xa0\x80"}), "\ufffd\ufffd\ufffd|");  // a surrogate
  EXPECT_EQ(decode({"\xf0\x9f\x99", "x"}), "|\ufffdx|");       // one for the piece that began well
  EXPECT_EQ(decode({"\xf0\x9f"}), "|\ufffd");                  // the end comes before the character
}

TEST(StreamDecoderTest, HoweverTheBytesAreCutTheTextIsTheSameAndValid) {
  const std::string bytes = "aé\xff世\xe4\xb8🙂\xf4\x90\x80\x80\xc0\xafz\xe2\x82";
  std::string whole;
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut)
    for (std::size_t next = cut; next <= bytes.size(); ++next) {
      StreamDecoder decoder;
      std::string out = decoder.push(bytes.substr(0, cut));
      out += decoder.push(bytes.substr(cut, next - cut));
      out += decoder.push(bytes.substr(next));
      out += decoder.finish();
      EXPECT_FALSE(first_invalid_utf8(out));
      if (whole.empty()) whole = out;
      EXPECT_EQ(out, whole) << cut << " " << next;
    }
  EXPECT_EQ(whole, "aé\ufffd世\ufffd🙂\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdz\ufffd");
}

TEST(StopMatcherTest, WithoutStopStringsAllComesOutAtOnce) {
  EXPECT_EQ(stop({}, {"a", "bc"}), "a|bc|");
}

TEST(StopMatcherTest, AStopStringEndsTheTextBeforeIt) {
  EXPECT_EQ(stop({"STOP"}, {"a STOP b", "c"}), "a ||!");
  EXPECT_EQ(stop({"b", "a"}, {"xab"}), "x|!");
}

TEST(StopMatcherTest, AStopStringIsFoundAcrossPieces) {
  EXPECT_EQ(stop({"STOP"}, {"xS", "T", "OP", "y"}), "x||||!");
  EXPECT_EQ(stop({"\n\n"}, {"a\n", "\nb"}), "a||!");
}

TEST(StopMatcherTest, WhatLookedLikeAStopStringComesOutOnceItIsNone) {
  EXPECT_EQ(stop({"STOP"}, {"xST", "EP", "ST"}), "x|STEP||ST");
  EXPECT_EQ(stop({"aab"}, {"a", "a", "a", "b"}), "||a||!");
  EXPECT_EQ(stop({"abcd", "bx"}, {"ab", "cx"}), "|abcx|");
}

TEST(StopMatcherTest, CutAnywhereTheTextIsTheSame) {
  const std::string text = "the end of the endless enSTOPding";
  for (std::size_t cut = 0; cut <= text.size(); ++cut)
    for (std::size_t next = cut; next <= text.size(); ++next) {
      StopMatcher matcher({"endless", "STOP", "ends"});
      std::string out = matcher.push(text.substr(0, cut));
      out += matcher.push(text.substr(cut, next - cut));
      out += matcher.push(text.substr(next));
      EXPECT_EQ(out + matcher.finish(), "the end of the ");
      EXPECT_TRUE(matcher.stopped());
    }
}

TEST(StopMatcherTest, AnEmptyStopStringIsRefused) {
  try {
    StopMatcher({"a", ""});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_EQ(error.code(), "STOP_EMPTY");
  }
}

}  // namespace
}  // namespace tender::text
