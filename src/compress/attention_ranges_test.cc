#include "compress/attention_ranges.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/rng.h"
#include "compress/quantize_test_support.h"

namespace tender::compress {
namespace {

model::ModelInfo info() {
  model::ModelInfo info;
  info.heads = 2;
  info.kv_heads = 1;
  info.head_width = 4;
  return info;
}

struct Seen {
  Matrix q{2, 8}, k{2, 4}, v{2, 4};
  Seen() {
    const float keys[2][4] = {{8, 1, 0.5F, 3}, {-4, -1, 0.25F, 3}};
    const float values[2][4] = {{8, -4, 4.5F, 0}, {1, 2, 3, 0}};
    for (std::size_t t = 0; t < 2; ++t)
      for (std::size_t c = 0; c < 4; ++c) {
        k(t, c) = keys[t][c];
        v(t, c) = values[t][c];
        q(t, c) = 1;
        q(t, 4 + c) = -2;
      }
  }
  model::AttentionRows rows() const { return {q.view(), k.view(), v.view()}; }
};

TEST(AttentionRanges, BiasesAreMiddlesAndChannelsStandInGroups) {
  AttentionRanges ranges(info());
  ranges.observe(Seen().rows());
  const model::KvStatics statics = ranges.settle("kv");
  EXPECT_EQ(statics.key_bias, (std::vector<float>{2, 0, 0.375F, 3}));
  // roots of 6/2, 1/2, 0.125/2, 0/2: 1.73 can be halved 0, 1, 2 and, at most, 7 times
  EXPECT_EQ(statics.key_groups, (std::vector<std::uint8_t>{7, 6, 5, 0}));
  // 8, 4, 4.5, 0: a channel on a threshold belongs to it
  EXPECT_EQ(statics.value_groups, (std::vector<std::uint8_t>{7, 6, 7, 0}));
}

TEST(AttentionRanges, DoNotDependOnTheOrder) {
  Rng rng(1, "ranges");
  std::vector<Seen> all(4);
  for (Seen& seen : all)
    for (Matrix* m : {&seen.q, &seen.k, &seen.v})
      for (float& x : m->span()) x = rng.normal();
  AttentionRanges forward(info()), backward(info());
  for (std::size_t i = 0; i < all.size(); ++i) {
    forward.observe(all[i].rows());
    backward.observe(all[all.size() - 1 - i].rows());
  }
  AttentionRanges merged(info()), rest(info());
  for (std::size_t i = 0; i < all.size(); ++i) (i == 2 ? merged : rest).observe(all[i].rows());
  merged.merge(rest);
  EXPECT_EQ(merged.settle("kv").key_bias, forward.settle("kv").key_bias);
  EXPECT_EQ(merged.settle("kv").value_groups, forward.settle("kv").value_groups);
  const auto a = forward.settle("kv"), b = backward.settle("kv");
  EXPECT_EQ(a.key_bias, b.key_bias);
  EXPECT_EQ(a.key_groups, b.key_groups);
  EXPECT_EQ(a.value_groups, b.value_groups);
}

TEST(AttentionRanges, WhatIsNotFiniteIsRefused) {
  for (Matrix Seen::*which : {&Seen::q, &Seen::k, &Seen::v})
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
      for (const std::size_t row : {0U, 1U}) {
        Seen seen;
        (seen.*which)(row, 1) = bad;
        AttentionRanges ranges(info());
        ranges.observe(seen.rows());
        try {
          ranges.settle("layer 3");
          ADD_FAILURE() << "not refused";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), "Q_NONFINITE");
          EXPECT_EQ(error.details().item, "layer 3");
        }
      }
}

}  // namespace
}  // namespace tender::compress
