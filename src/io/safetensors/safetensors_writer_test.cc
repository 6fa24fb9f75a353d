#include "io/safetensors_writer.h"

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/rng.h"
#include "io/safetensors/safetensors_structure.h"
#include "io/test_files.h"

namespace tender::io {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace): the builder of test files

struct Given {
  DType type;
  Shape shape;
  std::string bytes;
};

/// Random tensors of every type that safetensors knows.
std::map<std::string, Given> random_tensors(std::uint64_t seed) {
  Rng rng(seed, "tensors");
  std::map<std::string, Given> tensors;
  for (const DTypeTraits& type : all_dtypes()) {
    if (!type.safetensors) continue;
    for (std::uint64_t i = rng.below(3); i > 0; --i) {
      Given given{type.type, {8 * rng.below(5), 1 + rng.below(3)}, ""};
      given.bytes.resize(*element_count(given.shape) * type.bits / 8);
      for (char& c : given.bytes) c = static_cast<char>(rng.below(256));
      tensors.emplace(fmt::format("{} \"{}\" \\ \xc3\xa9", type.name, i), given);
    }
  }
  return tensors;
}

std::vector<TensorToWrite> to_write(const std::map<std::string, Given>& tensors,
                                    std::size_t piece) {
  std::vector<TensorToWrite> list;
  for (const auto& [name, given] : tensors) {
    const std::string* bytes = &given.bytes;
    list.push_back({name, given.type, given.shape, [bytes, piece](const auto& put) {
                      const auto all = std::as_bytes(std::span(*bytes));
                      for (std::size_t at = 0; at < all.size(); at += piece)
                        put(all.subspan(at, std::min(piece, all.size() - at)));
                    }});
  }
  return list;
}

void expect_holds(const TensorSource& source, const std::map<std::string, Given>& tensors) {
  EXPECT_EQ(source.tensors().size(), tensors.size());
  for (const auto& [name, given] : tensors) {
    const TensorInfo* tensor = source.find(name);
    ASSERT_NE(tensor, nullptr) << name;
    EXPECT_EQ(tensor->type, given.type);
    EXPECT_EQ(tensor->shape, given.shape);
    EXPECT_EQ(
        std::string_view(reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size()),
        given.bytes);
  }
}

TEST(SafetensorsWriterTest, WhatIsWrittenIsReadBackBitForBit) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto tensors = random_tensors(seed);
    const TemporaryFolder folder;
    const WrittenTensors written =
        write_safetensors(folder.path(), to_write(tensors, 7), {{"a", "\"b\"\n"}});
    EXPECT_THAT(written.files, ::testing::ElementsAre("model.safetensors"));
    EXPECT_EQ(written.bytes, std::filesystem::file_size(folder / "model.safetensors"));
    expect_holds(open_checkpoint(folder / "model.safetensors")->tensors(), tensors);
    ASSERT_EQ(written.xxh3.size(), tensors.size());
    for (const auto& [name, given] : tensors)
      EXPECT_EQ(written.xxh3.at(name), xxh3_hex(std::as_bytes(std::span(given.bytes))));
    const std::string bytes = tender::testing::read_text(folder / "model.safetensors");
    const auto metadata = parse_safetensors(std::as_bytes(std::span(bytes)), "x").metadata;
    EXPECT_THAT(metadata, ::testing::ElementsAre(::testing::Pair("a", "\"b\"\n"),
                                                 ::testing::Pair("format", "pt")));
  }
}

TEST(SafetensorsWriterTest, TheSameTensorsGiveTheSameBytesInAnyOrderAndAnyPieces) {
  const auto tensors = random_tensors(3);
  const TemporaryFolder first;
  const TemporaryFolder second;
  write_safetensors(first.path(), to_write(tensors, 1));
  auto other = to_write(tensors, 1000);
  std::reverse(other.begin(), other.end());
  write_safetensors(second.path(), std::move(other));
  EXPECT_EQ(tender::testing::read_text(first / "model.safetensors"),
            tender::testing::read_text(second / "model.safetensors"));
}

TEST(SafetensorsWriterTest, TensorsFallByAlignmentAndTheDataBeginsAtAMultipleOfEight) {
  const auto tensors = random_tensors(5);
  const TemporaryFolder folder;
  write_safetensors(folder.path(), to_write(tensors, 64));
  const std::string bytes = tender::testing::read_text(folder / "model.safetensors");
  const auto file = parse_safetensors(std::as_bytes(std::span(bytes)), "x");
  const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
  EXPECT_EQ((file.tensors.front().bytes.data() - begin) % 8, 0);
  for (std::size_t i = 1; i < file.tensors.size(); ++i) {
    const std::size_t before = traits(file.tensors[i - 1].type).bits;
    const std::size_t bits = traits(file.tensors[i].type).bits;
    EXPECT_GE(before, bits);
    EXPECT_EQ((file.tensors[i].bytes.data() - begin) % static_cast<std::ptrdiff_t>((bits + 7) / 8),
              0);
    if (before == bits) {
      EXPECT_LT(file.tensors[i - 1].name, file.tensors[i].name);
    }
  }
}

TEST(SafetensorsWriterTest, ShardsHoldTheSameAndAnIndexThatAgrees) {
  const auto tensors = random_tensors(7);
  const TemporaryFolder folder;
  constexpr std::uint64_t kShard = 64;
  const WrittenTensors written =
      write_safetensors(folder.path(), to_write(tensors, 64), {}, kShard);
  ASSERT_GT(written.files.size(), 2U);
  std::uint64_t bytes = std::filesystem::file_size(folder / "model.safetensors.index.json");
  std::uint64_t data = 0;
  for (std::size_t i = 0; i < written.files.size(); ++i) {
    EXPECT_EQ(written.files[i],
              fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, written.files.size()));
    bytes += std::filesystem::file_size(folder / written.files[i]);
    const auto shard = open_checkpoint(folder / written.files[i]);
    std::uint64_t here = 0;
    for (const TensorInfo& tensor : shard->tensors().tensors()) here += tensor.bytes.size();
    EXPECT_TRUE(here <= kShard || shard->tensors().tensors().size() == 1);
    data += here;
  }
  EXPECT_EQ(written.bytes, bytes);
  const Json index =
      Json::parse(tender::testing::read_text(folder / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], data);
  write_text(folder / "config.json", "{}");
  expect_holds(open_checkpoint(folder.path())->tensors(), tensors);
}

TEST(SafetensorsWriterTest, NoTensorsGiveAValidFile) {
  const TemporaryFolder folder;
  write_safetensors(folder.path(), {});
  EXPECT_TRUE(open_checkpoint(folder / "model.safetensors")->tensors().tensors().empty());
}

TEST(SafetensorsWriterTest, AFailureLeavesNoFileOfThatName) {
  const TemporaryFolder folder;
  std::vector<TensorToWrite> tensors;
  tensors.push_back({"a", DType::u8, {1}, [](const auto&) {
                       fail(ErrorKind::io, {.code = "IO_READ"}, "the source failed");
                     }});
  EXPECT_THROW(write_safetensors(folder.path(), std::move(tensors)), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace tender::io
