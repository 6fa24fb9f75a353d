#include "kernels/attention_f32/attention_f32.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

#include "kernels/hadamard/hadamard.h"
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

/// Multiples of 2^-8: differences of them are exact.
void keep_coarse(Matrix& m) {
  for (float& x : m.span()) x = std::nearbyint(256 * x) / 256;
}

/// Queries and keys of 20 channels with 20 zeros behind them, and the same with a bias taken off
/// both. The zeros make room for the one term that softmax does not cancel (tender.md 2.10):
/// [Q - b_Q, b_Q] [K - b_K, K]ᵀ = (Q - b_Q) (K - b_K)ᵀ + b_Q Kᵀ.
struct Centred {
  static constexpr std::size_t kWidth = 20;

  /// @param centred_keys  the term is b_Q (K - b_K)ᵀ, which is what a cache of centred keys has
  explicit Centred(bool centred_keys)
      : plain(problem({6, 2, 2 * kWidth}, 50, 0)), centred(problem({6, 2, 2 * kWidth}, 50, 0)) {
    Rng rng(5, "biases");
    query_bias = random_matrix(1, plain.q.cols(), rng);
    key_bias = random_matrix(1, plain.k.cols(), rng);
    for (Matrix* m : {&plain.q, &plain.k, &query_bias, &key_bias}) keep_coarse(*m);
    for (std::size_t t = 0; t < plain.tokens; ++t) {
      for (std::size_t c = 0; c < plain.q.cols(); c += 2 * kWidth)
        for (std::size_t d = c; d < c + kWidth; ++d) {
          plain.q(t, d + kWidth) = 0;
          plain.q(t, d) += 2 * query_bias(0, d);
          centred.q(t, d) = plain.q(t, d) - query_bias(0, d);
          centred.q(t, d + kWidth) = query_bias(0, d);
        }
      for (std::size_t c = 0; c < plain.k.cols(); c += 2 * kWidth)
        for (std::size_t d = c; d < c + kWidth; ++d) {
          plain.k(t, d + kWidth) = 0;
          plain.k(t, d) += 2 * key_bias(0, d);
          centred.k(t, d) = plain.k(t, d) - key_bias(0, d);
          centred.k(t, d + kWidth) = centred_keys ? centred.k(t, d) : plain.k(t, d);
        }
    }
  }
  Problem plain, centred;
  Matrix query_bias, key_bias;
};

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t d = 0; d < a.size(); ++d)
    sum += static_cast<double>(a[d]) * static_cast<double>(b[d]);
  return sum;
}

// Numbers in the names are those of the checks of tender.md section 9.
TEST(TenderCheck8, TheExpansionOfQKWithBothBiasesEqualsTheDirectProduct) {
  const Centred c(false);
  const std::size_t width = Centred::kWidth;
  for (std::size_t h = 0; h < 6; ++h) {
    const std::size_t q = h * 2 * width, k = h / 3 * 2 * width;
    const auto query_bias = c.query_bias.row(0).subspan(q, width);
    const auto key_bias = c.key_bias.row(0).subspan(k, width);
    for (std::size_t t = 0; t < 50; ++t)
      for (std::size_t j = 0; j <= t; ++j) {
        const auto query = c.plain.q.row(t).subspan(q, width);
        const auto key = c.plain.k.row(j).subspan(k, width);
        // products of multiples of 2^-8: double holds every sum
        EXPECT_EQ(dot(c.centred.q.row(t).subspan(q, width), c.centred.k.row(j).subspan(k, width)) +
                      dot(query_bias, key) + dot(query, key_bias) - dot(query_bias, key_bias),
                  dot(query, key));
      }
  }
}

TEST_P(AttentionKernelTest, TenderCheck8SoftmaxCancelsTheTermsThatAreTheSameForAllKeys) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const bool centred_keys : {false, true}) {
    const Centred c(centred_keys);
    const Matrix out = run(GetParam(), c.centred, 50, 2);
    for (std::size_t t = 0; t < 50; ++t)
      for (std::size_t h = 0; h < 6; ++h) {
        const Exact whole = exact(c.plain, t, h), without = exact(c.centred, t, h);
        for (std::size_t d = 0; d < 2 * Centred::kWidth; ++d) {
          ASSERT_NEAR(without.value[d], whole.value[d], 1e-12);
          ASSERT_NEAR(static_cast<double>(out(t, h * 2 * Centred::kWidth + d)), whole.value[d],
                      without.bound);
        }
      }
  }
}

// Not something that a model here does; docs/adr/0003-rotation.md says why.
TEST_P(AttentionKernelTest, TenderCheck17TurningQueriesAndKeysOfAHeadAlikeChangesNothing) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const std::size_t width : {64U, 48U, 20U, 14U}) {
    const Problem p = problem({6, 2, width}, 40, 0);
    Problem turned = problem({6, 2, width}, 40, 0);
    const Hadamard rotation(width, 2);
    std::vector<double> x(width), y(width);
    for (Matrix* m : {&turned.q, &turned.k})
      for (std::size_t t = 0; t < 40; ++t)
        for (std::size_t c = 0; c < m->cols(); c += width) {
          const auto head = m->row(t).subspan(c, width);
          std::ranges::copy(head, x.begin());
          rotation.rotate(x, y);
          std::ranges::transform(y, head.begin(), [](double v) { return static_cast<float>(v); });
        }
    EXPECT_FALSE(same_bits(turned.k.view(), p.k.view()));
    const Matrix out = run(GetParam(), turned, 40, 1);
    for (std::size_t t = 0; t < 40; ++t)
      for (std::size_t h = 0; h < 6; ++h) {
        const Exact truth = exact(p, t, h);
        // Of turned rows; that they were rounded moves a score by 2 ulp of the sizes in its sum,
        // less than the width + 2 that the bound has for it.
        const double bound = 2 * exact(turned, t, h).bound;
        for (std::size_t d = 0; d < width; ++d)
          ASSERT_NEAR(static_cast<double>(out(t, h * width + d)), truth.value[d], bound)
              << width << " wide, token " << t << ", head " << h;
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

// Threads take blocks that begin at multiples of 64: of the first, 37 positions are there already.
TEST_P(AttentionKernelTest, AppendedByThreadsBehindOthersItIsTheSameAsOneByOne) {
  TENDER_RUNS_OR_SKIP(GetParam());
  constexpr std::size_t held = 37, more = 150, all = held + more;
  for (const AttentionShape shape : {AttentionShape{3, 3, 64}, AttentionShape{2, 2, 7}}) {
    const Problem p = problem(shape, all, 0);
    const auto attended = [&](std::size_t at_once, std::size_t threads) {
      ThreadPool one(1), pool(threads);
      KvF32 cache(shape, all);
      cache.append(p.k.view().rows_from(0, held), p.v.view().rows_from(0, held), one);
      for (std::size_t t = held; t < all; t += at_once)
        cache.append(p.k.view().rows_from(t, at_once), p.v.view().rows_from(t, at_once), pool);
      EXPECT_EQ(cache.tokens(), all);
      Matrix out(all, p.q.cols());
      attend(GetParam(), cache, {p.q.view(), 0, p.scale(), 0}, out.view(), one);
      return out;
    };
    const Matrix wanted = attended(1, 1);
    for (const std::size_t threads : {1U, 3U})
      EXPECT_TRUE(same_bits(attended(more, threads).view(), wanted.view()))
          << shape.head_width << " wide, " << threads << " threads";
  }
}

}  // namespace
}  // namespace tender::kernels
