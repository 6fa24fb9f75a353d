#include "kernels/attention_f32/attention_f32.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

#include "kernels/kernel_testing.h"

namespace tender::kernels {

void PrintTo(const AttentionKernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

using testing::random_matrix;
using testing::same_bits;

class AttentionKernelTest : public ::testing::TestWithParam<AttentionKernel> {};
INSTANTIATE_TEST_SUITE_P(All, AttentionKernelTest, ::testing::ValuesIn(attention_kernels()),
                         testing::KernelName{});

struct Problem {
  AttentionShape shape;
  std::size_t tokens;
  std::size_t window = 0;
  Matrix q, k, v;
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape.head_width)); }
};

Problem problem(AttentionShape shape, std::size_t tokens, std::size_t window) {
  Rng rng(tokens * 7 + window, "attention");
  return {shape,
          tokens,
          window,
          random_matrix(tokens, shape.heads * shape.head_width, rng),
          random_matrix(tokens, shape.kv_heads * shape.head_width, rng),
          random_matrix(tokens, shape.kv_heads * shape.head_width, rng)};
}

/// Appends and attends `batch` tokens at a time.
Matrix run(const AttentionKernel& kernel, const Problem& p, std::size_t batch,
           std::size_t threads) {
  ThreadPool pool(threads);
  KvF32 cache(p.shape, p.tokens);
  Matrix out(p.tokens, p.q.cols());
  for (std::size_t first = 0; first < p.tokens; first += batch) {
    const std::size_t count = std::min(batch, p.tokens - first);
    cache.append(p.k.view().rows_from(first, count), p.v.view().rows_from(first, count), pool);
    attend(kernel, cache, {p.q.view().rows_from(first, count), first, p.scale(), p.window},
           out.view().rows_from(first, count), pool);
  }
  return out;
}

const std::vector<AttentionShape> kShapes = {
    {1, 1, 16}, {9, 3, 64}, {4, 4, 20}, {6, 2, 7}, {8, 1, 48}};

TEST_P(AttentionKernelTest, GivesTheBitsOfTheDefinition) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const AttentionShape shape : kShapes)
    for (const std::size_t tokens : {1U, 2U, 15U, 16U, 17U, 45U, 83U})
      for (const std::size_t window : {0U, 1U, 5U, 16U, 40U}) {
        const Problem p = problem(shape, tokens, window);
        const Matrix wanted = run(best_attention(Isa::scalar), p, tokens, 1);
        for (const std::size_t threads : {1U, 2U, 3U})
          ASSERT_TRUE(same_bits(run(GetParam(), p, tokens, threads).view(), wanted.view()))
              << shape.heads << " heads of " << shape.head_width << ", " << tokens
              << " tokens, window " << window << ", " << threads << " threads";
      }
}

TEST_P(AttentionKernelTest, GivesTheSameBitsInPrefillAndDecode) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const AttentionShape shape : kShapes)
    for (const std::size_t window : {0U, 3U, 33U}) {
      const Problem p = problem(shape, 61, window);
      const Matrix whole = run(GetParam(), p, 61, 2);
      for (const std::size_t batch : {1U, 2U, 7U, 16U, 20U})
        ASSERT_TRUE(same_bits(run(GetParam(), p, batch, 2).view(), whole.view()))
            << shape.head_width << " wide, window " << window << ", batches of " << batch;
    }
}

/// Softmax attention of one query and head in double, and how far float may be off.
struct Exact {
  std::vector<double> value;
  double bound = 0;
};

Exact exact(const Problem& p, std::size_t token, std::size_t head) {
  const std::size_t width = p.shape.head_width;
  const std::size_t kv = head / (p.shape.heads / p.shape.kv_heads);
  const std::size_t begin = p.window != 0 && token + 1 > p.window ? token + 1 - p.window : 0;
  std::vector<double> s;
  double spread = 0, top = -INFINITY, total = 0, largest = 0;
  for (std::size_t j = begin; j <= token; ++j) {
    double dot = 0, size = 0;
    for (std::size_t d = 0; d < width; ++d) {
      const double term = static_cast<double>(p.q(token, head * width + d)) *
                          static_cast<double>(p.k(j, kv * width + d));
      dot += term;
      size += std::fabs(term);
      largest = std::max(largest, std::fabs(static_cast<double>(p.v(j, kv * width + d))));
    }
    s.push_back(dot * static_cast<double>(p.scale()));
    spread = std::max(spread, size * static_cast<double>(p.scale()));
    top = std::max(top, s.back());
  }
  Exact result{std::vector<double>(width)};
  for (double& x : s) total += x = std::exp(x - top);
  for (std::size_t j = begin; j <= token; ++j)
    for (std::size_t d = 0; d < width; ++d)
      result.value[d] += s[j - begin] / total * static_cast<double>(p.v(j, kv * width + d));
  // A score is off by (width + 1) ulp of the sizes in its sum, so is the maximum, and their
  // difference rounds: that is the relative error of an exponential, with 2 ulp of its own. Weights
  // are such numbers over their sum (twice the error, and a chain of n / 16 + 4); a weighted mean
  // of n values adds a chain of n.
  const double n = static_cast<double>(s.size()), ulp = 0x1p-24;
  const double of_score = 2 * (static_cast<double>(width) + 2) * spread * ulp;
  result.bound = (2 * (of_score + 3 * ulp) + (n / 16 + 4) * ulp + (n + 2) * ulp) * largest * 1.01;
  return result;
}

TEST_P(AttentionKernelTest, AgreesWithDoubleWithinTheRoundingBound) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const AttentionShape shape : kShapes)
    for (const std::size_t window : {0U, 20U}) {
      const Problem p = problem(shape, 70, window);
      const Matrix out = run(GetParam(), p, 70, 2);
      for (std::size_t t = 0; t < p.tokens; ++t)
        for (std::size_t h = 0; h < shape.heads; ++h) {
          const Exact truth = exact(p, t, h);
          for (std::size_t d = 0; d < shape.head_width; ++d)
            ASSERT_NEAR(static_cast<double>(out(t, h * shape.head_width + d)), truth.value[d],
                        truth.bound)
                << "token " << t << ", head " << h;
        }
    }
}

TEST_P(AttentionKernelTest, WhatARowDoesNotSeeCannotReachIt) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const Problem p = problem({3, 1, 20}, 50, 10);
  const Matrix wanted = run(GetParam(), p, 50, 1);
  Problem spoilt = problem({3, 1, 20}, 50, 10);
  for (std::size_t d = 0; d < 20; ++d) {  // in front of the window of the last 20 rows
    spoilt.k(20, d) = std::numeric_limits<float>::infinity();
    spoilt.v(20, d) = std::numeric_limits<float>::quiet_NaN();
  }
  const Matrix got = run(GetParam(), spoilt, 50, 1);
  EXPECT_TRUE(same_bits(got.view().rows_from(0, 20), wanted.view().rows_from(0, 20)));
  EXPECT_TRUE(same_bits(got.view().rows_from(30, 20), wanted.view().rows_from(30, 20)));
  for (std::size_t t = 20; t < 30; ++t) EXPECT_TRUE(std::isnan(got(t, 0))) << t;
}

TEST_P(AttentionKernelTest, ATruncatedCacheForgets) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const Problem p = problem({2, 2, 24}, 40, 0);
  const Problem other = problem({2, 2, 24}, 41, 0);
  ThreadPool pool(1);
  KvF32 cache(p.shape, 100);
  cache.append(p.k.view().rows_from(0, 25), p.v.view().rows_from(0, 25), pool);
  cache.append(other.k.view().rows_from(0, 41), other.v.view().rows_from(0, 41), pool);
  cache.truncate(25);
  EXPECT_EQ(cache.tokens(), 25U);
  cache.append(p.k.view().rows_from(25, 15), p.v.view().rows_from(25, 15), pool);
  Matrix out(40, p.q.cols());
  attend(GetParam(), cache, {p.q.view(), 0, p.scale(), 0}, out.view(), pool);
  EXPECT_TRUE(same_bits(out.view(), run(GetParam(), p, 40, 1).view()));
}

TEST(KvF32, SaysWhatMemoryItReserves) {
  const KvF32 cache({4, 2, 20}, 33);
  // keys: 2 heads, 3 blocks of 16, 20 wide; values: 2 heads, 33 rows of 32
  EXPECT_EQ(cache.bytes(), 4U * (2 * 3 * 16 * 20 + 2 * 33 * 32));
}

}  // namespace
}  // namespace tender::kernels
