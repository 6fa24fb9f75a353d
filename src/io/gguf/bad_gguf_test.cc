#include "io/gguf/gguf_structure.h"
#include "io/test_files.h"

namespace tender::io {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace): the builder of test files

constexpr std::int32_t kTypeF32 = 0;
constexpr std::int32_t kTypeQ8 = 8;

GgufFile told(std::string_view member, std::uint64_t value) {
  GgufFile file = gguf_file();
  file.tensor("a", {4}, kTypeF32, 16);
  if (member == "tensors") file.tensor_count = value;
  if (member == "keys") file.key_count = value;
  if (member == "version") file.version = static_cast<std::uint32_t>(value);
  return file;
}

GgufFile with_alignment(std::uint32_t value) {
  GgufFile file = gguf_file();
  return file.u32("general.alignment", value).tensor("a", {4}, kTypeF32, 16);
}

std::string big_endian() {
  std::string bytes = gguf_file().bytes();
  std::swap(bytes[4], bytes[7]);
  return bytes;
}

std::string short_by_one(GgufFile file) {
  std::string bytes = file.tensor("a", {4}, kTypeF32, 16).bytes();
  bytes.pop_back();
  return bytes;
}

std::vector<BadFile> bad_files() {
  constexpr std::uint64_t kHuge = UINT64_MAX;
  const std::string word = GgufFile::text("x");
  GgufFile magic = gguf_file();
  magic.magic = "GGUX";
  GgufFile reversed = gguf_file();
  reversed.magic = "FUGG";
  return {
      {"G1a_Magic", "GG_MAGIC", magic.bytes()},
      {"G1a_TwoBytes", "GG_TRUNCATED", "GG"},
      {"G1b_Version0", "GG_VERSION", told("version", 0).bytes()},
      {"G1b_Version1", "GG_VERSION", told("version", 1).bytes()},
      {"G1b_Version99", "GG_VERSION", told("version", 99).bytes()},
      {"G1c_BigEndianVersion", "GG_ENDIAN", big_endian()},
      {"G1c_BigEndianMagic", "GG_ENDIAN", reversed.bytes()},
      {"G2_TensorsAll", "GG_COUNT", told("tensors", kHuge).bytes()},
      {"G2_Tensors2To63", "GG_COUNT", told("tensors", 1ULL << 63U).bytes()},
      {"G2_TensorsOfOtherBytes", "GG_COUNT", told("tensors", 5).bytes()},
      {"G2_KeysAll", "GG_COUNT", told("keys", kHuge).bytes()},
      {"G2_Keys2To63", "GG_COUNT", told("keys", 1ULL << 63U).bytes()},
      {"G3a_EmptyKey", "GG_KEY", gguf_file().u32("", 1).bytes()},
      {"G3a_LongKey", "GG_KEY", gguf_file().u32(std::string(65'536, 'k'), 1).bytes()},
      {"G3a_NotAscii", "GG_KEY", gguf_file().u32("k\xc3\xa9", 1).bytes()},
      {"G3a_Control", "GG_KEY", gguf_file().u32("k\n", 1).bytes()},
      {"G3b_Twice", "GG_DUPLICATE_KEY", gguf_file().u32("k", 1).u32("k", 1).bytes()},
      {"G4a_Type13", "GG_VALUE_TYPE", gguf_file().key("k", 13, raw<std::uint64_t>(0)).bytes()},
      {"G4a_TypeMinus1", "GG_VALUE_TYPE",
       gguf_file().key("k", UINT32_MAX, raw<std::uint64_t>(0)).bytes()},
      {"G4a_ElementType13", "GG_VALUE_TYPE",
       gguf_file().array("k", 13, 1, raw<std::uint64_t>(0)).bytes()},
      {"G4b_Bool2", "GG_BOOL", gguf_file().key("k", kBool, "\2").bytes()},
      {"G4b_BoolInArray", "GG_BOOL",
       gguf_file().array("k", kBool, 3, std::string("\0\1\2", 3)).bytes()},
      {"G4c_LongestString", "GG_STRING", gguf_file().key("k", kString, raw(kHuge)).bytes()},
      {"G4c_StringPastEnd", "GG_STRING",
       gguf_file().key("k", kString, raw<std::uint64_t>(9) + "12345678").bytes()},
      {"G4c_StringInArray", "GG_STRING",
       gguf_file().array("k", kString, 2, word + raw(kHuge)).bytes()},
      {"G4d_ArrayOfArrays", "GG_NESTED_ARRAY",
       gguf_file().array("k", kArray, 1, word + word).bytes()},
      {"G4e_Overflow", "GG_ARRAY", gguf_file().array("k", kU64, 1ULL << 61U, word).bytes()},
      {"G4e_PastEnd", "GG_ARRAY", gguf_file().array("k", kF32, 3, raw(1.0F)).bytes()},
      {"G4e_Strings", "GG_ARRAY", gguf_file().array("k", kString, 1ULL << 40U, word).bytes()},
      {"G5_WrongType", "GG_ALIGNMENT",
       gguf_file().key("general.alignment", kU64, raw<std::uint64_t>(32)).bytes()},
      {"G5_Zero", "GG_ALIGNMENT", with_alignment(0).bytes()},
      {"G5_Three", "GG_ALIGNMENT", with_alignment(3).bytes()},
      {"G5_Four", "GG_ALIGNMENT", with_alignment(4).bytes()},
      {"G5_2To21", "GG_ALIGNMENT", with_alignment(1U << 21U).bytes()},
      {"G5_2To31", "GG_ALIGNMENT", with_alignment(1U << 31U).bytes()},
      {"G6a_Long", "GG_TENSOR_NAME",
       gguf_file().tensor(std::string(64, 'n'), {4}, kTypeF32, 16).bytes()},
      {"G6a_Empty", "GG_TENSOR_NAME", gguf_file().tensor("", {4}, kTypeF32, 16).bytes()},
      {"G6a_Nul", "GG_TENSOR_NAME",
       gguf_file().tensor(std::string_view("a\0b", 3), {4}, kTypeF32, 16).bytes()},
      {"G6a_NotUtf8", "GG_TENSOR_NAME", gguf_file().tensor("a\xff", {4}, kTypeF32, 16).bytes()},
      {"G6b_Twice", "GG_DUPLICATE_TENSOR",
       gguf_file().tensor("a", {4}, kTypeF32, 16).tensor("a", {4}, kTypeF32, 16).bytes()},
      {"G6c_NoDimensions", "GG_NDIMS",
       gguf_file().tensor("a", {}, kTypeF32, 16).tensor("b", {4}, 0, 16).bytes()},
      {"G6c_FiveDimensions", "GG_NDIMS",
       gguf_file().tensor("a", {1, 1, 1, 1, 4}, kTypeF32, 16).bytes()},
      {"G6d_Zero", "GG_SHAPE", gguf_file().tensor("a", {4, 0}, kTypeF32, 16).bytes()},
      {"G6d_Negative", "GG_SHAPE", gguf_file().tensor("a", {kHuge}, kTypeF32, 16).bytes()},
      {"G6d_Overflow", "GG_SHAPE",
       gguf_file().tensor("a", {1ULL << 32U, 1ULL << 32U}, kTypeF32, 16).bytes()},
      {"G6d_2To48", "GG_SHAPE",
       gguf_file().tensor("a", {1ULL << 24U, 1ULL << 24U}, kTypeF32, 16).bytes()},
      {"G6e_Row", "GG_BLOCK", gguf_file().tensor("a", {48, 2}, kTypeQ8, 102).bytes()},
      {"G6f_Removed", "GG_TENSOR_TYPE", gguf_file().tensor("a", {32}, 4, 18).bytes()},
      {"G6f_Unknown", "GG_TENSOR_TYPE", gguf_file().tensor("a", {32}, 1000, 18).bytes()},
      {"G6f_Negative", "GG_TENSOR_TYPE", gguf_file().tensor("a", {32}, -1, 18).bytes()},
      {"G7a_Unaligned", "GG_OFFSET", gguf_file().tensor("a", {4}, kTypeF32, 16, '\2', 8).bytes()},
      {"G7b_FirstNotAtZero", "GG_OFFSET",
       gguf_file().tensor("a", {4}, kTypeF32, 48, '\2', 32).bytes()},
      {"G7b_SameBytes", "GG_OFFSET",
       gguf_file().tensor("a", {4}, kTypeF32, 16).tensor("b", {4}, kTypeF32, 16, '\2', 0).bytes()},
      {"G7b_Hole", "GG_OFFSET",
       gguf_file().tensor("a", {4}, kTypeF32, 16).tensor("b", {4}, kTypeF32, 64, '\2', 64).bytes()},
      {"G7b_Largest", "GG_OFFSET",
       gguf_file().tensor("a", {4}, kTypeF32, 16, '\2', kHuge - 31).bytes()},
      {"G7c_OneByteShort", "GG_TRUNCATED", short_by_one(gguf_file())},
      {"G7c_NoData", "GG_TRUNCATED", gguf_file().tensor("a", {4}, kTypeF32, 0).bytes()},
      {"G12_LargeTensor", "GG_TRUNCATED",
       gguf_file().tensor("a", {1U << 20U, 1U << 20U}, kTypeF32, 16).bytes()},
  };
}

class BadGgufTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadGgufTest, IsRefusedWithItsCode) {
  const TemporaryFolder folder;
  write_text(folder / "bad.gguf", GetParam().bytes);
  expect_refused(folder / "bad.gguf", GetParam().code);
  expect_refused(folder / "bad.gguf", GetParam().code, Need::tokenizer);
}

INSTANTIATE_TEST_SUITE_P(Rows, BadGgufTest, ::testing::ValuesIn(bad_files()),
                         [](const auto& row) { return std::string(row.param.name); });

GgufFile all_types() {
  GgufFile file = gguf_file();
  file.key("u8", kU8, raw<std::uint8_t>(200)).key("i8", kI8, raw<std::int8_t>(-100));
  file.u16("u16", 60'000).key("i16", kI16, raw<std::int16_t>(-30'000));
  file.u32("u32", 4'000'000'000).key("i32", kI32, raw<std::int32_t>(-2'000'000'000));
  file.key("u64", kU64, raw<std::uint64_t>(1ULL << 63U))
      .key("i64", kI64, raw<std::int64_t>(INT64_MIN));
  file.key("f32", kF32, raw(1.5F)).key("f64", kF64, raw(1e300)).key("bool", kBool, "\1");
  file.string("string", std::string_view("a\0b", 3));
  file.array("strings", kString, 2, GgufFile::text("") + GgufFile::text("x y"));
  file.array("integers", kI32, 2, raw<std::int32_t>(-1) + raw<std::int32_t>(7));
  file.array("numbers", kF32, 2, raw(0.25F) + raw(-1.0F));
  file.array("booleans", kBool, 2, std::string("\1\0", 2));
  file.array("empty", kU8, 0, "");
  return file;
}

TEST(GgufTest, AnErrorNamesTheTensorForPeopleAndForPrograms) {
  const std::string bytes = gguf_file().tensor("a.weight", {48, 2}, kTypeQ8, 102).bytes();
  try {
    parse_gguf(std::as_bytes(std::span(bytes)), "x");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.details().item, "a.weight");
    EXPECT_EQ(error.sentence(),
              "tensor 'a.weight': found rows of 48 in Q8_0, expected a multiple of 32");
  }
}

TEST(GgufTest, EveryValueTypeIsRead) {
  const std::string bytes = all_types().bytes();
  const GgufMetadata metadata("x", parse_gguf(std::as_bytes(std::span(bytes)), "x").metadata);
  EXPECT_EQ(metadata.integer("u8", 0, 255), 200);
  EXPECT_EQ(metadata.integer("i8", -128, 127), -100);
  EXPECT_EQ(metadata.integer("u16", 0, 65'535), 60'000);
  EXPECT_EQ(metadata.integer("i16", -40'000, 0), -30'000);
  EXPECT_EQ(metadata.integer("u32", 0, INT64_MAX), 4'000'000'000);
  EXPECT_EQ(metadata.integer("i32", INT64_MIN, 0), -2'000'000'000);
  EXPECT_EQ(metadata.integer("i64", INT64_MIN, 0), INT64_MIN);
  EXPECT_EQ(metadata.number("f32"), 1.5);
  EXPECT_EQ(metadata.number("f64"), 1e300);
  EXPECT_EQ(metadata.find_boolean("bool"), true);
  EXPECT_EQ(metadata.string("string"), std::string("a\0b", 3));
  EXPECT_THAT(*metadata.find_strings("strings"), ::testing::ElementsAre("", "x y"));
  EXPECT_THAT(*metadata.find_integers("integers"), ::testing::ElementsAre(-1, 7));
  EXPECT_THAT(*metadata.find_numbers("numbers"), ::testing::ElementsAre(0.25, -1.0));
  EXPECT_TRUE(metadata.find_integers("empty")->empty());
  EXPECT_EQ(describe_type(metadata.all().at("booleans")), "array of bool");
}

std::string code_of(const std::function<void()>& access) {
  try {
    access();
  } catch (const Error& error) {
    EXPECT_FALSE(error.details().item.empty());
    EXPECT_FALSE(error.details().found.empty());
    return error.code();
  }
  return "accepted";
}

TEST(GgufTest, AccessIsTypedAndNamesTheKey) {
  const std::string bytes = all_types().bytes();
  const GgufMetadata metadata("x", parse_gguf(std::as_bytes(std::span(bytes)), "x").metadata);
  EXPECT_EQ(code_of([&] { metadata.integer("u64", 0, INT64_MAX); }), "GG_PARAM");
  EXPECT_EQ(code_of([&] { metadata.integer("u8", 0, 199); }), "GG_PARAM");
  EXPECT_EQ(code_of([&] { metadata.integer("i8", 0, 199); }), "GG_PARAM");
  EXPECT_EQ(code_of([&] { metadata.integer("f32", 0, 199); }), "GG_KEY_TYPE");
  EXPECT_EQ(code_of([&] { metadata.integer("bool", 0, 1); }), "GG_KEY_TYPE");
  EXPECT_EQ(code_of([&] { metadata.integer("integers", 0, 1); }), "GG_KEY_TYPE");
  EXPECT_EQ(code_of([&] { metadata.integer("absent", 0, 1); }), "GG_KEY_MISSING");
  EXPECT_EQ(code_of([&] { metadata.number("u8"); }), "GG_KEY_TYPE");
  EXPECT_EQ(code_of([&] { metadata.number("absent"); }), "GG_KEY_MISSING");
  EXPECT_EQ(code_of([&] { metadata.find_boolean("u8"); }), "GG_KEY_TYPE");
  EXPECT_EQ(code_of([&] { metadata.string("strings"); }), "GG_KEY_TYPE");
  EXPECT_EQ(code_of([&] { metadata.string("absent"); }), "GG_KEY_MISSING");
  EXPECT_EQ(code_of([&] { metadata.find_strings("string"); }), "GG_KEY_TYPE");
  EXPECT_EQ(code_of([&] { metadata.find_numbers("integers"); }),
            "GG_KEY_TYPE");  // scores as integers
  EXPECT_EQ(code_of([&] { metadata.find_integers("numbers"); }), "GG_KEY_TYPE");
  EXPECT_EQ(code_of([&] { metadata.find_integers("booleans"); }), "GG_KEY_TYPE");
  EXPECT_EQ(metadata.find_integer("absent", 0, 1), std::nullopt);
  EXPECT_EQ(metadata.find_strings("absent"), nullptr);
}

TEST(GgufTest, TensorsAreWhereTheyAreInBothVersions) {
  for (const std::uint32_t version : {2U, 3U}) {
    GgufFile file = gguf_file();
    file.version = version;
    file.tensor("a", {32, 2}, kTypeQ8, 68, '\5').tensor("b", {3}, kTypeF32, 12, '\6');
    const std::string bytes = file.bytes();
    const auto found = parse_gguf(std::as_bytes(std::span(bytes)), "x");
    EXPECT_EQ(found.version, version);
    ASSERT_EQ(found.tensors.size(), 2U);
    EXPECT_EQ(found.tensors[0].name, "a");
    EXPECT_EQ(found.tensors[0].type, DType::q8_0);
    EXPECT_EQ(found.tensors[0].shape, (Shape{2, 32}));
    EXPECT_EQ(found.tensors[0].bytes.size(), 68U);
    EXPECT_EQ(found.tensors[0].bytes.back(), std::byte{5});
    EXPECT_EQ(found.tensors[1].shape, (Shape{3}));
    EXPECT_EQ(found.tensors[1].bytes.front(), std::byte{6});
  }
}

TEST(GgufTest, AnAlignmentOfItsOwnIsUsed) {
  for (const std::uint32_t alignment : {8U, 64U, 1U << 20U}) {
    GgufFile file = gguf_file();
    file.alignment = alignment;
    file.u32("general.alignment", alignment)
        .tensor("a", {1}, kTypeF32, 4)
        .tensor("b", {1}, kTypeF32, 4, '\7');
    const std::string bytes = file.bytes();
    const auto found = parse_gguf(std::as_bytes(std::span(bytes)), "x");
    EXPECT_EQ(found.tensors[1].bytes.front(), std::byte{7});
  }
}

// Check 24 of tender.md section 9.
TEST(GgufTest, TenderCheck24EveryTruncationIsRefusedButInThePaddingAtTheEnd) {
  GgufFile file = all_types();
  const std::string whole =
      file.tensor("a", {4}, kTypeF32, 16).tensor("b", {5}, kTypeF32, 20).bytes();
  ASSERT_NO_THROW(parse_gguf(std::as_bytes(std::span(whole)), "x"));
  for (std::size_t keep = 0; keep < whole.size(); ++keep) {
    const std::string part = whole.substr(0, keep);
    EXPECT_THROW(parse_gguf(std::as_bytes(std::span(part)), "x"), Error)
        << "kept " << keep << " bytes";
  }
  const std::string padded = whole + std::string(12, '\0');
  for (std::size_t keep = whole.size(); keep <= padded.size(); ++keep) {
    const std::string part = padded.substr(0, keep);
    EXPECT_NO_THROW(parse_gguf(std::as_bytes(std::span(part)), "x")) << "kept " << keep << " bytes";
  }
}

TEST(GgufTest, AFileWithoutTensorsIsValid) {
  const TemporaryFolder folder;
  write_text(folder / "vocabulary.gguf", gguf_file().bytes());
  const auto opened = open_checkpoint(folder / "vocabulary.gguf");
  EXPECT_EQ(opened->container(), "gguf");
  EXPECT_TRUE(opened->tensors().tensors().empty());
  EXPECT_EQ(opened->gguf()->string("general.architecture"), "llama");
  EXPECT_EQ(opened->tensors().find("a"), nullptr);
}

}  // namespace
}  // namespace tender::io
