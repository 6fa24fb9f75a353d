#include "compress/memory_checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"

namespace tender::compress {
namespace {

std::vector<float> numbers(std::size_t count, float first) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = first + static_cast<float>(i);
  return values;
}

io::TensorToWrite tensor_of(const std::string& name, std::vector<float> values) {
  return {name, DType::f32, {values.size()}, [values](const auto& put) {
            put(std::as_bytes(std::span(values)));
          }};
}

TEST(MemoryCheckpointTest, GivesTensorsAndConfigBack) {
  const MemoryCheckpoint checkpoint(R"({"width": 3})",
                                    {tensor_of("a", numbers(3, 1)), tensor_of("b", numbers(5, 7))});
  EXPECT_EQ(checkpoint.config()->at("width"), 3);
  ASSERT_EQ(checkpoint.tensors().tensors().size(), 2U);
  const TensorInfo* b = checkpoint.tensors().find("b");
  ASSERT_NE(b, nullptr);
  std::vector<float> read(5);
  io::to_float32(*b, read);
  EXPECT_EQ(read, numbers(5, 7));
  EXPECT_EQ(checkpoint.tensors().find("c"), nullptr);
}

TEST(MemoryCheckpointTest, GivingPagesBackLosesNothing) {
  const auto values = numbers(100000, 0);
  const MemoryCheckpoint checkpoint("{}", {tensor_of("a", values)});
  const TensorInfo& a = *checkpoint.tensors().find("a");
  MappedFile::release(a.bytes);
  std::vector<float> read(values.size());
  io::to_float32(a, read);
  EXPECT_EQ(read, values);
}

}  // namespace
}  // namespace tender::compress
