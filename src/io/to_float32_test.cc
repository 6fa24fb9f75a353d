#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "io/checkpoint.h"
#include "io/gguf/block_formats.h"
#include "tests/support/test_support.h"

namespace tender::io {
namespace {

template <class T>
TensorInfo tensor_over(DType type, Shape shape, const std::vector<T>& values) {
  return {"t", type, std::move(shape), std::as_bytes(std::span(values))};
}

std::vector<float> values_of(const TensorInfo& tensor) {
  std::vector<float> out(tensor.elements());
  to_float32(tensor, out);
  return out;
}

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

// The golden file holds bytes from a seed and what the Python package `gguf` makes of them.
TEST(ToFloat32Test, EveryBlockFormatGivesTheBitsOfTheReference) {
  const auto golden = open_checkpoint(testing::source_path("src/io/golden/blocks.gguf"));
  for (const BlockFormat& format : block_formats()) {
    const std::string name(to_string(format.type));
    SCOPED_TRACE(name);
    const TensorInfo* blocks = golden->tensors().find(name);
    const TensorInfo* expected = golden->tensors().find(name + ".expected");
    ASSERT_TRUE(blocks != nullptr && expected != nullptr);
    ASSERT_EQ(blocks->type, format.type);
    EXPECT_EQ(bits_of(values_of(*blocks)), bits_of(values_of(*expected)));
  }
}

TEST(ToFloat32Test, RowsAreThoseOfTheWholeTensor) {
  const auto golden = open_checkpoint(testing::source_path("src/io/golden/blocks.gguf"));
  for (const BlockFormat& format : block_formats()) {
    const TensorInfo& tensor = *golden->tensors().find(std::string(to_string(format.type)));
    const std::vector<float> whole = values_of(tensor);
    const std::uint64_t width = tensor.shape[1];
    std::vector<float> rows(2 * width);
    rows_to_float32(tensor, 1, 2, rows);
    const std::vector<float> part(whole.begin() + static_cast<std::ptrdiff_t>(width),
                                  whole.begin() + static_cast<std::ptrdiff_t>(3 * width));
    EXPECT_EQ(bits_of(rows), bits_of(part)) << to_string(format.type);
  }
}

TEST(ToFloat32Test, EveryHalfAndEveryBfloat16IsExact) {
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  const auto halves = bits_of(values_of(tensor_over(DType::f16, {65536}, all)));
  const auto brains = bits_of(values_of(tensor_over(DType::bf16, {65536}, all)));
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(halves[i], std::bit_cast<std::uint32_t>(half_to_float(all[i]))) << i;
    ASSERT_EQ(brains[i], static_cast<std::uint32_t>(i) << 16U);
  }
}

TEST(ToFloat32Test, PlainNumbersAreConverted) {
  const std::vector<double> f64 = {1.0 / 3.0, -2.5, 1e300};
  EXPECT_THAT(values_of(tensor_over(DType::f64, {3}, f64)),
              ::testing::ElementsAre(1.0F / 3.0F, -2.5F, std::numeric_limits<float>::infinity()));
  const std::vector<std::int8_t> i8 = {-128, 127};
  EXPECT_THAT(values_of(tensor_over(DType::i8, {2}, i8)), ::testing::ElementsAre(-128.0F, 127.0F));
  EXPECT_THAT(values_of(tensor_over(DType::u8, {2}, i8)), ::testing::ElementsAre(128.0F, 127.0F));
  const std::vector<std::int64_t> i64 = {-(std::int64_t{1} << 40), 16777217};
  EXPECT_THAT(values_of(tensor_over(DType::i64, {2}, i64)),
              ::testing::ElementsAre(-0x1p40F, 16777216.0F));
}

TEST(ToFloat32Test, ATensorWithoutElementsGivesNothing) {
  EXPECT_TRUE(values_of({"t", DType::f32, {0, 4}, {}}).empty());
}

TEST(ToFloat32Test, OtherTypesAreRefusedByName) {
  std::size_t refused = 0;
  for (const DTypeTraits& type : all_dtypes()) {
    if (is_computable(type.type)) continue;
    ++refused;
    const std::vector<std::byte> bytes(type.bits);
    const TensorInfo tensor{"t", type.type, {type.block}, bytes};
    std::vector<float> out(type.block);
    try {
      to_float32(tensor, out);
      ADD_FAILURE() << type.name << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "TENSOR_TYPE");
      EXPECT_THAT(error.what(), ::testing::HasSubstr(std::string(type.name)));
    }
  }
  EXPECT_GT(refused, 0U);
}

}  // namespace
}  // namespace tender::io
