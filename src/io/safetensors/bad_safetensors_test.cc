#include "base/json.h"
#include "io/safetensors/safetensors_structure.h"
#include "io/test_files.h"

namespace tender::io {
namespace {

using testing::BadFile;
using testing::safetensors_file;

/// {"a": F32 [1]} and what else is given; four bytes of data belong to "a".
std::string with(std::string_view more) {
  return R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})" + std::string(more) + "}";
}
/// One tensor, written as given.
std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return fmt::format(R"({{"a":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape,
                     offsets);
}
std::string named(const std::string& name) {
  return R"({")" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
}

std::string too_many() {
  std::string header = "{";
  for (int i = 0; i <= 1'000'000; ++i)
    header += fmt::format(R"("{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},)", i);
  header.back() = '}';
  return safetensors_file(header, 0);
}

std::vector<BadFile> bad_files() {
  const std::string good = with("");
  std::vector<BadFile> files = {
      {"S1_SevenBytes", "ST_TOO_SHORT", std::string(7, '\0')},
      {"S1_Empty", "ST_TOO_SHORT", ""},
      {"S2a_HugeHeader", "ST_HEADER_TOO_LARGE", safetensors_file(good, 4, 100'000'001)},
      {"S2a_LargestHeader", "ST_HEADER_TOO_LARGE", safetensors_file(good, 4, UINT64_MAX)},
      {"S2b_HeaderPastEnd", "ST_HEADER_PAST_END", safetensors_file(good, 4, good.size() + 5)},
      {"S3a_NoHeader", "ST_HEADER_EMPTY", safetensors_file(good, 4, 0)},
      {"S3b_Array", "ST_HEADER_NOT_OBJECT", safetensors_file("[]", 0)},
      {"S3b_SpaceInFront", "ST_HEADER_NOT_OBJECT", safetensors_file(" " + good, 4)},
      {"S4_NotUtf8", "ST_HEADER_UTF8", safetensors_file(with(",\"b\xff\":1"), 4)},
      {"S5a_CutOff", "ST_HEADER_JSON", safetensors_file(good.substr(0, 20), 4)},
      {"S5a_OpenString", "ST_HEADER_JSON", safetensors_file("{\"a", 0)},
      {"S5a_CommaAtTheEnd", "ST_HEADER_JSON", safetensors_file(with(","), 4)},
      {"S5a_NoQuotes", "ST_HEADER_JSON", safetensors_file("{a:1}", 0)},
      {"S5a_LoneSurrogate", "ST_HEADER_JSON", safetensors_file(named("\\ud800"), 1)},
      {"S5a_BadEscape", "ST_HEADER_JSON", safetensors_file(named("\\q"), 1)},
      {"S5a_BareControl", "ST_HEADER_JSON", safetensors_file(named(std::string("\x01")), 1)},
      {"S5a_LeadingZero", "ST_HEADER_JSON", safetensors_file(one("\"U8\"", "[01]", "[0,1]"), 1)},
      {"S5a_NoObject", "ST_HEADER_JSON", safetensors_file(R"({"a":[1]})", 0)},
      {"S5a_KeyMissing", "ST_HEADER_JSON",
       safetensors_file(R"({"a":{"dtype":"F32","shape":[1]}})", 4)},
      {"S5a_UnknownKey", "ST_HEADER_JSON",
       safetensors_file(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":null}})", 1)},
      {"S5b_Trailing", "ST_HEADER_TRAILING", safetensors_file(good + " x", 4)},
      {"S5b_TrailingNewline", "ST_HEADER_TRAILING", safetensors_file(good + "\n", 4)},
      {"S5c_NestingBomb", "JSON_DEPTH",
       safetensors_file("{\"a\":" + std::string(1'000'000, '['), 0)},
      {"S5c_NestingBombInShape", "JSON_DEPTH",
       safetensors_file("{\"a\":{\"shape\":[" + std::string(1'000'000, '['), 0)},
      {"S6a_TwoTensors", "ST_DUPLICATE_TENSOR",
       safetensors_file(with(R"(,"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), 8)},
      {"S6a_TwoSpellings", "ST_DUPLICATE_TENSOR",
       safetensors_file(with(R"(,"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), 8)},
      {"S6b_InnerKeyTwice", "ST_DUPLICATE_KEY",
       safetensors_file(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                        4)},
      {"S6b_MetadataTwice", "ST_DUPLICATE_KEY",
       safetensors_file(with(R"(,"__metadata__":{},"__metadata__":{})"), 4)},
      {"S6b_MetadataKeyTwice", "ST_DUPLICATE_KEY",
       safetensors_file(with(R"(,"__metadata__":{"x":"1","x":"2"})"), 4)},
      {"S7_Number", "ST_METADATA_TYPE", safetensors_file(with(R"(,"__metadata__":{"x":1})"), 4)},
      {"S7_NoObject", "ST_METADATA_TYPE", safetensors_file(with(R"(,"__metadata__":"x")"), 4)},
      {"S8_UnknownType", "ST_DTYPE", safetensors_file(one("\"F33\"", "[1]", "[0,4]"), 4)},
      {"S8_GgufType", "ST_DTYPE", safetensors_file(one("\"Q8_0\"", "[32]", "[0,34]"), 34)},
      {"S8_Number", "ST_DTYPE", safetensors_file(one("32", "[1]", "[0,4]"), 4)},
      {"S9a_Negative", "ST_SHAPE", safetensors_file(one("\"F32\"", "[-1]", "[0,4]"), 4)},
      {"S9b_Fraction", "ST_SHAPE", safetensors_file(one("\"F32\"", "[1.5]", "[0,4]"), 4)},
      {"S9b_Exponent", "ST_SHAPE", safetensors_file(one("\"F32\"", "[1e0]", "[0,4]"), 4)},
      {"S9c_Above2To63", "ST_SHAPE",
       safetensors_file(one("\"F32\"", "[9223372036854775808]", "[0,4]"), 4)},
      {"S9c_ManyDigits", "ST_SHAPE",
       safetensors_file(one("\"F32\"", "[" + std::string(5000, '9') + "]", "[0,4]"), 4)},
      {"S9_String", "ST_SHAPE", safetensors_file(one("\"F32\"", "[\"1\"]", "[0,4]"), 4)},
      {"S9_NoArray", "ST_SHAPE", safetensors_file(one("\"F32\"", "1", "[0,4]"), 4)},
      {"S9d_ProductOf2To64", "ST_SHAPE_OVERFLOW",
       safetensors_file(one("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0)},
      {"S9d_ProductOf2To48", "ST_SHAPE_OVERFLOW",
       safetensors_file(one("\"U8\"", "[281474976710656]", "[0,4]"), 4)},
      {"S9e_RankNine", "ST_RANK",
       safetensors_file(one("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4)},
      {"S10a_BeginBehindEnd", "ST_OFFSETS", safetensors_file(one("\"F32\"", "[1]", "[4,0]"), 4)},
      {"S10a_Negative", "ST_OFFSETS", safetensors_file(one("\"F32\"", "[1]", "[-4,0]"), 4)},
      {"S10a_OneOffset", "ST_OFFSETS", safetensors_file(one("\"F32\"", "[1]", "[0]"), 4)},
      {"S10a_ThreeOffsets", "ST_OFFSETS", safetensors_file(one("\"F32\"", "[1]", "[0,4,4]"), 4)},
      {"S10a_NoArray", "ST_OFFSETS", safetensors_file(one("\"F32\"", "[1]", "null"), 4)},
      {"S10b_Overlap", "ST_OVERLAP",
       safetensors_file(with(R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]})"), 6)},
      {"S10b_SameBytes", "ST_OVERLAP",
       safetensors_file(with(R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), 4)},
      {"S10c_Hole", "ST_HOLE",
       safetensors_file(with(R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]})"), 12)},
      {"S10d_NotAtZero", "ST_OFFSETS", safetensors_file(one("\"F32\"", "[1]", "[4,8]"), 8)},
      {"S10e_PastEnd", "ST_PAST_END", safetensors_file(one("\"F32\"", "[100]", "[0,400]"), 4)},
      {"S11_Size", "ST_SIZE_MISMATCH", safetensors_file(one("\"F32\"", "[2]", "[0,4]"), 4)},
      {"S11_RankZero", "ST_SIZE_MISMATCH", safetensors_file(one("\"F32\"", "[]", "[0,8]"), 8)},
      {"S12_Trailing", "ST_TRAILING_BYTES", safetensors_file(good, 5)},
      {"S12_NoTensors", "ST_TRAILING_BYTES", safetensors_file("{}", 1)},
      {"S13_Nul", "ST_NAME", safetensors_file(named("a\\u0000b"), 1)},
      {"S13_Newline", "ST_NAME", safetensors_file(named("a\\n"), 1)},
      {"S13_Delete", "ST_NAME", safetensors_file(named("a\x7f"), 1)},
      {"S13_C1Control", "ST_NAME", safetensors_file(named("a\xc2\x85"), 1)},
      {"S13_DotDot", "ST_NAME", safetensors_file(named("../../etc/passwd"), 1)},
      {"S13_Long", "ST_NAME", safetensors_file(named(std::string(4097, 'x')), 1)},
      {"S14_HalfAByte", "ST_SUBBYTE", safetensors_file(one("\"F4\"", "[3]", "[0,2]"), 2)},
      {"S14_ThreeQuarters", "ST_SUBBYTE", safetensors_file(one("\"F6_E2M3\"", "[3]", "[0,3]"), 3)},
      {"S16_ZeroBytes", "ST_HEADER_EMPTY", std::string(4096, '\0')},
  };
  return files;
}

class BadSafetensorsTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadSafetensorsTest, IsRefusedAsAFileAndInADirectory) {
  const testing::TemporaryFolder folder;
  testing::write_text(folder / "bare.safetensors", GetParam().bytes);
  testing::expect_refused(folder / "bare.safetensors", GetParam().code);
  testing::write_text(folder / "config.json", "{}");
  testing::write_text(folder / "model.safetensors", GetParam().bytes);
  testing::expect_refused(folder.path(), GetParam().code);
}

INSTANTIATE_TEST_SUITE_P(Rows, BadSafetensorsTest, ::testing::ValuesIn(bad_files()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(SafetensorsLimitTest, S5dAMillionTensorsOpenAndOneMoreIsRefused) {
  const std::string bytes = too_many();
  try {
    parse_safetensors(std::as_bytes(std::span(bytes)), "x");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "ST_TOO_MANY_TENSORS");
  }
  const std::size_t last = bytes.rfind(",\"1000000\"");
  const std::string header = bytes.substr(8, last - 8) + "}";
  const std::string fewer = safetensors_file(header, 0);
  EXPECT_EQ(parse_safetensors(std::as_bytes(std::span(fewer)), "x").tensors.size(), 1'000'000U);
}

TEST(SafetensorsLimitTest, BothNumbersOfAWrongSizeAreNamed) {
  const std::string bytes = safetensors_file(one("\"F32\"", "[2]", "[0,4]"), 4);
  try {
    parse_safetensors(std::as_bytes(std::span(bytes)), "x");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.details().found, "4 bytes");
    EXPECT_EQ(error.details().expected, "8 for F32 [2]");
    EXPECT_EQ(error.details().item, "a");
    EXPECT_EQ(error.details().offset, 9U);
  }
}

TEST(SafetensorsTest, WhatTheFormatAllowsIsAccepted) {
  const std::vector<std::string> files = {
      safetensors_file("{}", 0),
      safetensors_file("{}      ", 0),
      safetensors_file(R"({"__metadata__":{"format":"pt","a":"b"}})", 0),
      safetensors_file(one("\"F32\"", "[]", "[0,4]"), 4),
      safetensors_file(one("\"F32\"", "[0,7]", "[0,0]"), 0),
      safetensors_file(one("\"BOOL\"", "[1,1,1,1,1,1,1,1]", "[0,1]"), 1),
      safetensors_file(one("\"F4\"", "[2]", "[0,1]"), 1),
      safetensors_file(named("a/b.c \\\"quoted\\\" \\ud83d\\ude00"), 1),
      safetensors_file(named(std::string(4096, 'x')), 1),
      // out of order, with an empty tensor in between
      safetensors_file("{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}, "
                       "\"e\":{\"shape\":[0],\n\"dtype\":\"U8\",\"data_offsets\":[1,1]}, "
                       "\"a\":{\"data_offsets\":[0,1],\"dtype\":\"U8\",\"shape\":[1]}} ",
                       3),
  };
  for (const std::string& bytes : files)
    EXPECT_NO_THROW(parse_safetensors(std::as_bytes(std::span(bytes)), "x")) << bytes;
}

TEST(SafetensorsTest, TensorsAndMetadataAreWhatTheHeaderSays) {
  const std::string bytes = safetensors_file(
      R"({"__metadata__":{"k\n":"v"},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[1,5]},)"
      R"("a\u00e9":{"dtype":"I8","shape":[],"data_offsets":[0,1]}})",
      5);
  const auto found = parse_safetensors(std::as_bytes(std::span(bytes)), "x");
  EXPECT_THAT(found.metadata, ::testing::ElementsAre(::testing::Pair("k\n", "v")));
  ASSERT_EQ(found.tensors.size(), 2U);
  EXPECT_EQ(found.tensors[0].name, "b");
  EXPECT_EQ(found.tensors[0].type, DType::bf16);
  EXPECT_EQ(found.tensors[0].shape, (Shape{1, 2}));
  EXPECT_EQ(found.tensors[0].bytes.size(), 4U);
  EXPECT_EQ(reinterpret_cast<const char*>(found.tensors[0].bytes.data()),
            bytes.data() + bytes.size() - 4);
  EXPECT_EQ(found.tensors[1].name, "a\xc3\xa9");
  EXPECT_EQ(found.tensors[1].elements(), 1U);
}

// Check 24 of tender.md section 9.
TEST(SafetensorsTest, TenderCheck24EveryTruncationIsRefused) {
  const std::string whole = safetensors_file(
      with(
          R"(,"b":{"dtype":"F64","shape":[2],"data_offsets":[4,20]},"__metadata__":{"format":"pt"})") +
          "   ",
      20);
  ASSERT_NO_THROW(parse_safetensors(std::as_bytes(std::span(whole)), "x"));
  for (std::size_t keep = 0; keep < whole.size(); ++keep) {
    const std::string part = whole.substr(0, keep);
    EXPECT_THROW(parse_safetensors(std::as_bytes(std::span(part)), "x"), Error)
        << "kept " << keep << " bytes";
  }
}

}  // namespace
}  // namespace tender::io
